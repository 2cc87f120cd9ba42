"""What is printed differently and is the same: only what both sides print alike, once they were loaded."""

from tangga.exits import SCRATCH_FAILED, Stop
from tangga.scratch.again import differences

A, B = "check constraint t.a", "check constraint t.b"
STEPS = {A: "CHECK (x = ANY (a))", B: "CHECK (1)", "table t": "CREATE TABLE t"}
FOUND = {A: "CHECK (x = ANY (b))", B: "CHECK (2)", "table t": "CREATE TABLE t"}


def unable() -> dict[str, str]:
    raise Stop("it cannot be loaded", "mend it", SCRATCH_FAILED)


def subjects(lines: list[str]) -> list[str]:
    return [line.partition(": ")[0] for line in lines]


def test_what_is_the_same_once_it_was_loaded_is_no_difference() -> None:
    loaded = {A: "CHECK (x = ANY (b))"}
    [line] = differences(STEPS, FOUND, lambda: STEPS | loaded, lambda: FOUND | loaded)
    assert line.startswith(f"{B}: ")


def test_what_is_on_one_side_only_stays_a_difference() -> None:
    loaded = dict.fromkeys(STEPS, "z")
    missing = {name: text for name, text in FOUND.items() if not name.endswith(".a")}
    assert subjects(differences(STEPS, missing, lambda: loaded, lambda: loaded)) == [A]
    assert subjects(differences(missing, STEPS, lambda: loaded, lambda: loaded)) == [A]


def test_what_cannot_be_loaded_excuses_nothing() -> None:
    both = [A, B]
    assert subjects(differences(STEPS, FOUND, unable, lambda: FOUND)) == both
    assert subjects(differences(STEPS, FOUND, lambda: STEPS, unable)) == both


def test_what_is_equal_is_not_loaded() -> None:
    assert differences(STEPS, dict(STEPS), unable, unable) == []
