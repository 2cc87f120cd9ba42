"""What proving the steps comes to: how long each took, what is at fault, what could not be looked at."""

from typing import NamedTuple

from alembic.script import Script

from tangga.words import file_name


class Timing(NamedTuple):
    """One step, and how long it took (seconds; None: it was not run)."""

    revision: str
    message: str
    up: float | None
    down: float | None


class Finding(NamedTuple):
    """One fault; `revision` and `file` are empty if it is no single step's."""

    revision: str
    file: str
    text: str


class Report(NamedTuple):
    """What was found. `overhead` is the time beyond the steps themselves, in seconds a step."""

    timings: list[Timing]
    findings: list[Finding]
    notes: list[str]
    # What could not be looked at, and why.
    unproven: list[str]
    # Of how many steps there are, and of those walked, which --sql cannot print.
    steps: int
    not_printable: list[str]
    # The models were compared.
    models: bool
    seconds: float
    overhead: float


class Findings:
    """Faults, notes, and what could not be looked at, as they are found."""

    def __init__(self) -> None:
        self.faults: list[Finding] = []
        self.models = False
        self._notes: dict[str, None] = {}
        self._unproven: dict[str, None] = {}
        self._not_printable: dict[str, None] = {}

    def report(self, timings: list[Timing], steps: int, seconds: float, overhead: float) -> Report:
        """Return what was found until now."""
        return Report(
            timings, self.faults, [*self._notes], [*self._unproven], steps, [*self._not_printable], self.models,
            seconds, overhead,
        )  # fmt: skip

    def fault(self, step: Script | None, text: str) -> None:
        """Add a fault of a step; without one, of the whole."""
        self.faults.append(Finding(step.revision, file_name(step.path), text) if step else Finding("", "", text))

    def values(self, step: Script, when: str, changes: list[str]) -> None:
        """Add changes to values that were there before the step, but those that an earlier look has found."""
        known = {fault.text.partition(": ")[2] for fault in self.faults if fault.revision == step.revision}
        for line in changes:
            if line not in known:
                self.fault(step, f"after {when}, values that were there before: {line}")

    def note(self, text: str) -> None:
        """Add a note, once."""
        self._notes[text] = None

    def unproven(self, text: str) -> None:
        """Add what could not be looked at, once."""
        self._unproven[text] = None

    def not_printable(self, step: Script, why: str) -> None:
        """Note that --sql cannot print a step."""
        self._not_printable[step.revision] = None
        self.note(f"{step.revision} cannot be printed as SQL: {why}")
