"""What a revision excuses: lint_ignore = {"rule": "reason"}, and breaks_previous_release = "why"."""

from collections.abc import Iterator, Mapping, Sequence

from alembic.script import Script

from tangga.journal.writing import BREAKS
from tangga.lint.finding import Finding, about_file
from tangga.lint.rules import RULES
from tangga.lint.rules.files import UNUSED_EXCEPTION, WITHOUT_REASON
from tangga.project import Project

_ATTRIBUTE = "lint_ignore"
_DIRECTIONS = ("up", "down", "")


def excused(project: Project, script: Script, found: Sequence[Finding], asked_database: bool) -> Iterator[Finding]:
    """Yield the findings of a revision in their order, marked if excused; then what is wrong with the excuses."""
    reasons: Mapping[str, str] = getattr(script.module, _ATTRIBUTE, {})
    declared = getattr(script.module, BREAKS, None)
    for finding in sorted(found, key=lambda one: (_DIRECTIONS.index(one.direction), one.line, one.rule)):
        rule = RULES.get(finding.rule)
        yield finding._replace(exception=reasons.get(finding.rule, declared if rule and rule.compatibility else None))
    used = {finding.rule for finding in found}
    for name, reason in reasons.items():
        if not reason.strip():
            yield about_file(project, script, WITHOUT_REASON.problem(rule=name), _ATTRIBUTE)
        # Nobody may have asked the database that would have said it.
        if name not in used and (asked_database or not (name in RULES and RULES[name].of_the_database)):
            yield about_file(project, script, UNUSED_EXCEPTION.problem(rule=name), _ATTRIBUTE)
