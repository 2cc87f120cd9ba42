"""What a rule is: its name, what is wrong (why), what to do instead (remedy), and examples of both forms.

A rule of ours has a check and its own why; of squawk's rules we say only what to do, which way it counts, and when
squawk is wrong. Texts may name commands, {merge}: tangga/remedies.py has them in the project's words.
"""

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from alembic.script import Script

from tangga.lint.finding import Problem
from tangga.lint.place import Place
from tangga.lint.rendering import Step
from tangga.lint.statements import Statement
from tangga.remedies import say

# What is put into the places of a rule's why.
Values = Mapping[str, str]
_COMMAND = re.compile(r"\{([a-z-]+)\}")


class Example(NamedTuple):
    """An operation. Bodies are those of `upgrade`; lines that start with @ are attributes of the revision."""

    name: str
    unsafe: str
    safe: str
    # The body of a step before the safe one.
    first: str = ""


class Function(NamedTuple):
    """`upgrade` or `downgrade` as a whole."""

    step: Step
    # Why it cannot be undone, if the revision says so.
    irreversible: str
    # Whether the revision's `upgrade` does something, or tries to.
    goes_up: bool

    @property
    def refuses(self) -> bool:
        """Whether it is a downgrade that raises an error of its own."""
        return self.step.raises and self.step.direction == "down"


class File(NamedTuple):
    """What a revision says about itself."""

    script: Script
    heads: Collection[str]

    def attribute(self, name: str) -> str:
        """Return one of the revision's attributes as text; "" if it has none of that name."""
        value = getattr(self.script.module, name, None)
        return "" if value is None else str(value)


@dataclass(frozen=True)
class Rule:
    """A rule; the checks yield what goes into `why`, and where it is unless that is the statement at hand."""

    name: str
    # "" for a rule of squawk's.
    why: str = ""
    # "" if squawk's help says it.
    remedy: str = ""
    of_statement: Callable[[Statement, Place], Iterator[Values]] | None = None
    # When all statements of the step have been seen.
    of_step: Callable[[Place], Iterator[tuple[Statement, Values]]] | None = None
    # Where: the line.
    of_function: Callable[[Function], Iterator[tuple[int, Values]]] | None = None
    # Where: the attribute.
    of_file: Callable[[File], Iterator[tuple[str, Values]]] | None = None
    # squawk does not know the earlier steps, or our session: tells whether it is wrong about this statement. The last
    # are the names of all rules that squawk names for it.
    is_false: Callable[[Statement, Place, Collection[str]], bool] | None = None
    # Whether it holds on the way down too, which takes things away by its nature, and for which no older release waits.
    downwards: bool = False
    # Whether the release that still runs may stumble over it: a step that says so may do it (breaks_previous_release).
    compatibility: bool = False
    # Whether only a database can say it: if nobody asked one, an exception for it does not count as unused.
    of_the_database: bool = False
    # Whether it is about what may be regretted in years, and hurts nobody now: it holds where a project asks for it, by
    # lint_also in [tool.tangga].
    on_request: bool = False
    examples: tuple[Example, ...] = ()

    def problem(self, **values: str) -> Problem:
        """Return what this rule of ours says, with `values` put into its why."""
        return Problem(self.name, self.why.format(**values), said(self.remedy))


class Family(NamedTuple):
    """Rules about one subject; the title is for the page."""

    title: str
    rules: tuple[Rule, ...]


def said(text: str) -> str:
    """Return a text with the commands that it names in the project's words."""
    return _COMMAND.sub(lambda name: say(name[1]), text)
