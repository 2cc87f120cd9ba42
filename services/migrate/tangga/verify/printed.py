"""The second ways up, and the SQL that --sql prints, must build what going straight up builds."""

from alembic.script import Script

from tangga.catalogue.dump import differences
from tangga.verify.model import Findings
from tangga.verify.places import NotPrintable, Place, Places

# A schema, as catalogue/dump.py names its objects.
Objects = dict[str, str]


class Printed:
    """Compares what was walked, from step number `first` on, with what the printed SQL builds."""

    def __init__(self, places: Places, found: Findings, steps: list[Script], first: int) -> None:
        self._places = places
        self._found = found
        self._below = steps[:first]
        self._steps = steps[first:]

    def compare(self, walked: Objects, schemas: dict[str, Objects]) -> None:
        """Prove both by one dump; find the guilty step only if they differ.

        `walked` is the schema after all second ways up, `schemas` those after each step's first way up.
        """
        with self._places.after(self._below) as place:
            printed = all(self._run(place, step) is None for step in self._steps)
            if printed and not differences(walked, self._places.objects(place)):
                return
        self._find_guilty(walked, schemas)

    def _run(self, place: Place, step: Script) -> str | None:
        """Run a step as it is printed; one that cannot be printed is noted, and run as usual."""
        try:
            return self._places.run_printed(place, step)
        except NotPrintable as error:
            self._found.note(f"{step.revision} cannot be printed as SQL: {error}")
            self._places.run(place, step.revision)
            return None

    def _find_guilty(self, walked: Objects, schemas: dict[str, Objects]) -> None:
        """Go up once more by both ways with a dump after each step."""
        printing, walking = True, True
        before: Script | None = None
        expected: Objects = {}
        with self._places.after(self._below) as straight, self._places.after(self._below) as printed:
            for step in self._steps:
                self._places.run(straight, step.revision)
                expected = self._places.objects(straight)
                printing = printing and self._is_right_as_printed(printed, step, expected)
                # What it started from was the step below after its second way up.
                walking = walking and self._is_right_as_walked(
                    before or step, expected, schemas.get(step.revision, expected)
                )
                before = step
        if walking and before:
            self._is_right_as_walked(before, expected, walked)

    def _is_right_as_printed(self, place: Place, step: Script, expected: Objects) -> bool:
        error = self._run(place, step)
        lines = [error] if error else differences(expected, self._places.objects(place))
        for line in lines:
            self._found.fault(step, f"the SQL that --sql prints {'fails' if error else 'does something else'}: {line}")
        return not lines

    def _is_right_as_walked(self, step: Script, expected: Objects, found: Objects) -> bool:
        lines = differences(expected, found)
        for line in lines:
            self._found.fault(step, f"after the second up, {line}")
        return not lines
