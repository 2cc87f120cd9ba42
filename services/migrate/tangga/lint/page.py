"""The page of all rules: what the linter says of each example, and a form that it lets pass. Made anew by --page."""

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from tangga.lint import examples
from tangga.lint.examples import Seen
from tangga.lint.rule import Family, Rule, said
from tangga.lint.rules import FAMILIES
from tangga.lint.rules.files import SEVERAL_HEADS

_HEAD: Final = """# Unsafe operations

What `{lint}` says of each operation that can hurt a database in use, and a form that it lets pass.
The linter prints this page itself (`lint --page`). The examples stand with the rules; to make the page, they are
planted as steps and linted. A test runs the safe forms.

Bold is the rule's name. If a step must do it all the same, the exception stands in the step, with the reason;
`{plan}` shows it, and so does `lint --verbose`:

```python
lint_ignore = {"ban-drop-column": "release 1.4 was the last to read it; 1.5 runs everywhere"}
```

What is found only if asked for hurts nobody now; `lint_also = ["prefer-bigint-over-int"]` in `[tool.tangga]` asks.
An exception without a reason is a finding, and so is one that is not needed. `safe` is `tangga.safe`.
"""
_TABLE: Final = "\n| operation | in a step | finding | safe form |\n| --- | --- | --- | --- |\n"
_REST: Final = """
## Without an example

What else is found, by us or with a remedy of ours. squawk has more rules: its own words say what to do about those.

| finding | what to do |
| --- | --- |
"""


def page() -> str:
    """Return the page in Markdown, in the words of the project that was loaded; raises Stop if squawk is missing."""
    with tempfile.TemporaryDirectory() as folder:
        seen = [*examples.see(Path(folder))]
    return "".join([said(_HEAD), *(part for family in FAMILIES for part in _section(family, seen)), *_rest()])


def _section(family: Family, seen: Sequence[Seen]) -> Iterator[str]:
    if not any(rule.examples for rule in family.rules):
        return
    yield f"\n## {family.title}\n{_TABLE}"
    for one in seen:
        if one.rule in family.rules:
            yield _row(one.example.name, _code(one.example.unsafe), f"{_name(one.rule)}: {_why(one)}", _safe(one))


def _name(rule: Rule) -> str:
    return f"**{rule.name}**" + (" (if asked for)" if rule.on_request else "")


def _why(seen: Seen) -> str:
    [why] = {finding.why for finding in seen.unsafe if finding.rule == seen.rule.name}
    # The heads of the history in which this was tried say nothing to the reader.
    return why.partition(":")[0] if seen.rule == SEVERAL_HEADS else why


def _safe(seen: Seen) -> str:
    first = seen.example.first
    return (f"a step: {_code(first)}<br>the next: " if first else "") + _code(seen.example.safe)


def _rest() -> Iterator[str]:
    yield _REST
    for family in FAMILIES:
        for rule in family.rules:
            if rule.remedy and not rule.examples:
                yield _row(f"**{rule.name}**", said(rule.remedy))


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |\n"


def _code(body: str) -> str:
    lines = [line.removeprefix("@").replace("|", "\\|") for line in said(body).strip().splitlines()]
    return "<br>".join("&nbsp;" * (len(line) - len(line.lstrip())) + f"`{line.strip()}`" for line in lines)
