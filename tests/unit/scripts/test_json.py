"""scripts/lib/json.sh reads JSON as JSON: whatever Python's own module writes, in whatever order."""

import json
import random
from typing import Any

import pytest

from tests.unit.scripts.shell import call

LIB = "lib/ui.sh lib/json.sh"
LETTERS = 'ab"\\/\n\t\r\b\f {}[]:,é€😀\x01=$'


def _text(source: random.Random) -> str:
    return "".join(source.choice(LETTERS) for _ in range(source.randint(0, 8)))


def _value(source: random.Random) -> Any:
    return source.choice([_text(source), _text(source), 5, -1500.0, True, {"x": [1, {"y": _text(source)}]}, [], {}])


@pytest.mark.parametrize("seed", range(40))
def test_it_reads_what_python_writes(seed: int) -> None:
    source = random.Random(seed)
    inner = {f"k{number} {_text(source)}": _value(source) for number in range(6)}
    document = json.dumps(
        {"e": {}, "a": {"other": _text(source), "b": inner}, "c": [1, 2, _text(source)]},
        ensure_ascii=source.random() < 0.5,
        indent=source.choice([None, 2]),
    )
    fields = call(LIB, "json_pairs", "a", "b", "*", stdin=document).split("\0")[:-1]
    read = dict(zip(fields[::2], fields[1::2], strict=True))
    scalars = {key: value for key, value in inner.items() if not isinstance(value, dict | list)}
    assert read == {key: value if isinstance(value, str) else json.dumps(value) for key, value in scalars.items()}


def test_a_path_leads_into_objects_and_lists() -> None:
    document = json.dumps(
        {"rows": 0, "tables": {"a.b": {"rows": 3, "bytes": 9}, 'c"d': {"bytes": 1, "rows": 40}}, "l": [7, 8]}
    )
    assert call(LIB, "json_values", "tables", "*", "rows", stdin=document) == "3\n40\n"
    assert call(LIB, "json_values", "l", "1", stdin=document) == "8\n"
    assert call(LIB, "json_values", "nothing", stdin=document) == ""
    assert call(LIB, "json_values", stdin='"a\\nb"') == "a\nb\n"


@pytest.mark.parametrize(
    "text",
    [
        "{",
        '{"a"}',
        '{"a":1,}',
        "[1,]",
        '{"a":1 "b":2}',
        '"\\x"',
        "tru",
        "01",
        '{"a":1}}',
        "{1:2}",
        ",",
        "[}",
        '{"a":]}',
        '"a',
        ":",
    ],
)
def test_what_is_no_json_is_refused(text: str) -> None:
    call(LIB, "json_values", "a", stdin=text, status=65)


def test_rows_whatever_the_order_of_their_keys_and_without_what_is_cut_off() -> None:
    lines = [
        '{"to": "v2", "action": "deploy", "from": "v1", "inner": {"to": "no"}}',
        '{"action": "deploy", "to": "v',
        '{"action":"undeploy","from":null,"to":"a\\tb"}',
    ]
    rows = call(LIB, "json_rows", "action", "from", "to", stdin="\n".join(lines))
    assert rows.splitlines() == ["deploy\tv1\tv2", "undeploy\t\ta b"]


def test_lines_whose_value_is_another_one() -> None:
    lines = ['{"l": "a=1,one=True", "n": 1}', '{"n": 2, "l": "a=1"}', '{"n": "\\"l\\": \\"one=True\\""}', '{"l": "torn']
    assert call(LIB, "json_lines", "l", "*one=True*", stdin="\n".join(lines) + "\n").splitlines() == lines[1:3]
    assert call(LIB, "json_lines", "n", stdin="\n".join(lines) + "\n").splitlines() == lines[:3]


def test_strings_that_the_scripts_write_are_read_back() -> None:
    text = 'a "quoted" \\ word, ünd'
    assert json.loads(call(LIB, "json_string", text)) == text
