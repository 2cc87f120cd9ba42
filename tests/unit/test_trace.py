import pytest

from services.api.observe.trace import read_trace

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
GOOD = f"00-{TRACE}-{SPAN}-01"


def _header(name: str, value: str) -> tuple[bytes, bytes]:
    return name.encode(), value.encode("latin-1")


@pytest.mark.parametrize(
    ("value", "flags"),
    [
        (GOOD, "01"),
        (f"00-{TRACE}-{SPAN}-00", "00"),
        (f"00-{TRACE}-{SPAN}-ff", "01"),
        (f"cc-{TRACE}-{SPAN}-01", "01"),
        (f"cc-{TRACE}-{SPAN}-01-what-the-future-brings", "01"),
    ],
)
def test_a_trace_goes_on(value: str, flags: str) -> None:
    trace = read_trace([_header("accept", "*/*"), _header("traceparent", value)])
    assert (trace.trace_id, trace.parent_id) == (TRACE, SPAN)
    assert trace.span_id not in (SPAN, "0" * 16)
    assert trace.traceparent == f"00-{TRACE}-{trace.span_id}-{flags}"


@pytest.mark.parametrize(
    "value",
    [
        "",
        "00",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE}-{SPAN}-01-",
        f"00-{TRACE}-{SPAN}-0",
        f"00-{TRACE[:-1]}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}0-01",
        f"cc-{TRACE}-{SPAN}-01.what",
        f"0g-{TRACE}-{SPAN}-01",
        f" {GOOD}",
        f"{GOOD}\n",
        GOOD.replace("-", "_"),
    ],
)
def test_a_malformed_trace_is_not_taken_over(value: str) -> None:
    trace = read_trace([_header("traceparent", value)])
    assert trace.parent_id is None
    assert trace.trace_id != TRACE
    assert trace.traceparent == f"00-{trace.trace_id}-{trace.span_id}-00"
    assert (len(trace.trace_id), len(trace.span_id)) == (32, 16)


def test_two_traces_are_none() -> None:
    assert read_trace([_header("traceparent", GOOD)] * 2).parent_id is None


@pytest.mark.parametrize("value", ["a", "A-z_0.9:8/+=@", "x" * 128, "Root=1-67891233-abcdef012345678912345678"])
def test_a_sane_request_id_is_kept(value: str) -> None:
    assert read_trace([_header("x-request-id", value)]).request_id == value


@pytest.mark.parametrize("value", ["", "x" * 129, "a b", 'a"b', "a\nb", "a\\b", "é", "a\0", "{}", "<script>", "a\n"])
def test_another_request_id_is_replaced(value: str) -> None:
    trace = read_trace([_header("x-request-id", value)])
    assert trace.request_id == trace.trace_id


def test_each_request_has_ids_of_its_own() -> None:
    assert len({trace for _ in range(1000) for trace in (read_trace([]).request_id, read_trace([]).span_id)}) == 2000
