"""What a revision excuses: lint_ignore = {"rule": "reason"}, and breaks_previous_release = "why"."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from alembic.script import Script

from tangga.journal.writing import BREAKS
from tangga.lint.finding import Finding, about_file
from tangga.lint.rules import RULES, is_wanted
from tangga.lint.rules.files import NO_EXCEPTIONS, UNUSED_EXCEPTION, WITHOUT_REASON
from tangga.project import Project

_ATTRIBUTE = "lint_ignore"
_DIRECTIONS = ("up", "down", "")


def excused(project: Project, script: Script, found: Sequence[Finding], asked_database: bool) -> Iterator[Finding]:
    """Yield the findings of a revision in their order, marked if excused; then what is wrong with the excuses."""
    given = getattr(script.module, _ATTRIBUTE, {})
    reasons = _reasons(given)
    declared = getattr(script.module, BREAKS, None)
    for finding in sorted(found, key=lambda one: (_DIRECTIONS.index(one.direction), one.line, one.rule)):
        rule = RULES.get(finding.rule)
        yield finding._replace(exception=reasons.get(finding.rule, declared if rule and rule.compatibility else None))
    if given and not reasons:
        yield about_file(project, script, NO_EXCEPTIONS.problem(what=repr(given)), _ATTRIBUTE)
    used = {finding.rule for finding in found}
    for name, reason in reasons.items():
        if not reason.strip():
            yield about_file(project, script, WITHOUT_REASON.problem(rule=name), _ATTRIBUTE)
        if name not in used and not _may_be_unsaid(project, name, asked_database):
            yield about_file(project, script, UNUSED_EXCEPTION.problem(rule=name), _ATTRIBUTE)


def _reasons(given: Any) -> Mapping[str, str]:
    """Return what a revision excuses; nothing if that is not written as texts by texts."""
    if isinstance(given, Mapping) and all(isinstance(text, str) for pair in given.items() for text in pair):
        return given
    return {}


def _may_be_unsaid(project: Project, name: str, asked_database: bool) -> bool:
    """Tell whether a rule is silent because nobody asked: the database that would have said it, or for the rule."""
    rule = RULES.get(name)
    return rule is not None and ((rule.of_the_database and not asked_database) or not is_wanted(project, name))
