"""The rules, a file for each family: what hurts, why, and how to do it safely.

A rule of ours looks at one statement, knowing the tables before it (`Place`), at a step or a function as a whole, or at
the file. Those of squawk's that stand here have a remedy of ours, a case in which squawk is wrong, or hold downwards.
"""

from collections.abc import Iterator, Sequence
from typing import Final

from tangga.exits import WRONG_SETTING, Stop
from tangga.lint.finding import Problem
from tangga.lint.place import Place
from tangga.lint.rule import Family, File, Function, Rule, said
from tangga.lint.rules import chain, columns, compatibility, constraints, data, files, indexes, locks, names, types
from tangga.lint.statements import Statement
from tangga.lint.trees import tables_of
from tangga.project import Project

# In the order of the page.
FAMILIES: Final[tuple[Family, ...]] = tuple(
    module.FAMILY for module in (locks, indexes, constraints, columns, types, data, compatibility, names, files, chain)
)
RULES: Final[dict[str, Rule]] = {rule.name: rule for family in FAMILIES for rule in family.rules}

# What hurts those who use a table: nobody uses one that the step itself makes, or drops in the end. squawk knows part
# of this. The drop itself is another matter.
_OF_TABLES_IN_USE: Final = {
    "adding-field-with-default", "adding-foreign-key-constraint", "adding-not-nullable-field", "adding-required-field",
    "adding-serial-primary-key-field", "ban-drop-column", "ban-drop-constraint", "ban-drop-default",
    "ban-drop-not-null", "changing-column-type", "constraint-missing-not-valid", "disallowed-unique-constraint",
    "renaming-column", "renaming-table", "require-concurrent-index-creation",
}  # fmt: skip


def of_statement(statement: Statement, place: Place) -> Iterator[Problem]:
    """Apply the rules for single statements."""
    for rule in RULES.values():
        for values in rule.of_statement(statement, place) if rule.of_statement else ():
            yield rule.problem(**values)


def true_alarms(alarms: Sequence[Problem], statement: Statement, place: Place) -> Iterator[Problem]:
    """Yield what squawk says of a statement and is not wrong about, with our remedy if there is one."""
    names = {alarm.rule for alarm in alarms}
    tables = tables_of(statement.tree)
    passing = bool(tables) and all(place.is_passing(table) for table in tables)
    for alarm in alarms:
        rule = RULES.get(alarm.rule, Rule(alarm.rule))
        if not (passing and alarm.rule in _OF_TABLES_IN_USE) and not (
            rule.is_false and rule.is_false(statement, place, names)
        ):
            yield alarm._replace(remedy=said(rule.remedy) or alarm.remedy)


def of_step(place: Place) -> Iterator[tuple[Statement, Problem]]:
    """Apply the rules for a step as a whole, when all of its statements have been seen."""
    for rule in RULES.values():
        for statement, values in rule.of_step(place) if rule.of_step else ():
            yield statement, rule.problem(**values)


def of_function(function: Function) -> Iterator[tuple[int, Problem]]:
    """Apply the rules for `upgrade` or `downgrade` as a whole; with the line."""
    for rule in RULES.values():
        for line, values in rule.of_function(function) if rule.of_function else ():
            yield line, rule.problem(**values)


def of_file(file: File) -> Iterator[tuple[str, Problem]]:
    """Apply the rules for what a revision says about itself; with the attribute."""
    for rule in RULES.values():
        for attribute, values in rule.of_file(file) if rule.of_file else ():
            yield attribute, rule.problem(**values)


def holds(rule: str, direction: str) -> bool:
    """Tell whether a rule counts in this direction; what is unknown here is squawk's, and counts upwards."""
    return direction == "up" or (rule in RULES and RULES[rule].downwards)


def is_wanted(project: Project, rule: str) -> bool:
    """Tell whether a rule holds in a project, as it does unless it is one that has to be asked for."""
    return rule in project.table.get("lint_also", ()) or not (rule in RULES and RULES[rule].on_request)


def require_known(project: Project) -> None:
    """Raise Stop if a project asks for what is no rule that can be asked for."""
    known = sorted(rule.name for rule in RULES.values() if rule.on_request)
    if unknown := sorted({*project.table.get("lint_also", ())} - {*known}):
        raise Stop(
            f"[tool.tangga] lint_also names {', '.join(unknown)}, which need not be asked for, or is no rule",
            f"the rules that can be asked for: {', '.join(known)}",
            WRONG_SETTING,
        )
