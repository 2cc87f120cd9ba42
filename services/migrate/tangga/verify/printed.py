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

        `walked` is the schema at the end of the walk, `schemas` those after each step's second way up.
        """
        with self._places.after(self._below) as place:
            printed = all(self._run(place, step) is None for step in self._steps)
            if printed and not differences(walked, self._places.objects(place)):
                return
        with self._places.after([*self._below, *self._steps]) as straight:
            walking = bool(differences(walked, self._places.objects(straight)))
        self._find_guilty(schemas, walking=walking)

    def _run(self, place: Place, step: Script) -> str | None:
        """Run a step as it is printed; one that cannot be printed is noted, and run as usual."""
        try:
            return self._places.run_printed(place, step)
        except NotPrintable as error:
            self._found.not_printable(step, str(error))
            self._places.run(place.connection, step)
            return None

    def _find_guilty(self, schemas: dict[str, Objects], *, walking: bool) -> None:
        """Go up once more by both ways with a dump after each step, until what is wrong is found."""
        printing = True
        with self._places.after(self._below) as straight, self._places.after(self._below) as printed:
            for step in self._steps:
                if not printing and not walking:
                    return
                self._places.run(straight.connection, step)
                expected = self._places.objects(straight)
                printing = printing and self._is_right_as_printed(printed, step, expected)
                walking = walking and self._is_right_as_walked(step, expected, schemas.get(step.revision, expected))

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
