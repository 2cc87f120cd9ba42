"""The status as one HTML file: no script, nothing from elsewhere, every value escaped."""

from collections.abc import Sequence
from html import escape
from string import Template

from services.migrate.status.facts import Status, service
from services.migrate.status.tables import (
    backups_table,
    database_line,
    operations_table,
    services_table,
    sessions_table,
)
from tangga.journal.history import Step
from tangga.words import duration, when

_PAGE = Template("""\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>$title</title>
<style>
:root { color-scheme: light dark; --line: #8884; --well: #1a7f37; --ill: #cf222e; --dim: #6e7781; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.4rem; margin: 0 } h2 { font-size: 1.05rem; margin: 2rem 0 .5rem }
p { margin: .25rem 0 } .dim { color: var(--dim) } .well { color: var(--well) } .ill { color: var(--ill) }
.scroll { overflow-x: auto } table { border-collapse: collapse; width: 100%; font-size: .9rem }
th, td { text-align: left; padding: .3rem .8rem .3rem 0; border-bottom: 1px solid var(--line); white-space: nowrap }
td.long { white-space: normal; min-width: 16rem } th { font-weight: 600 }
ol.steps { list-style: none; margin: 0; padding: 0 } ol.steps li { position: relative; padding: 0 0 .9rem 1.8rem }
ol.steps li::before { content: ""; position: absolute; left: .45rem; top: .45rem; width: .6rem; height: .6rem;
  border: 2px solid currentColor; border-radius: 50%; box-sizing: border-box }
ol.steps li:not(:last-child)::after { content: ""; position: absolute; left: .7rem; top: 1.05rem; bottom: -.45rem;
  border-left: 2px solid var(--line) }
ol.steps li.applied::before, ol.steps li.current::before { background: currentColor }
ol.steps li.current { color: var(--well); font-weight: 600 } ol.steps li.pending { color: var(--dim) }
code { font-family: ui-monospace, monospace }
</style>
<h1>$project <span class="dim">release $tag</span></h1>
<p class="dim">$moment UTC</p>
$verdict
<h2>Services</h2>
$services
<h2>Schema</h2>
$steps
<h2>Database</h2>
<p>$database</p>
$sessions
<h2>Backups</h2>
$backups
<h2>Deploys and other operations</h2>
$operations
</html>
""")


def page(status: Status) -> str:
    """Return the whole page."""
    facts, troubles = status.facts, status.troubles()
    verdict = (
        "<ul>" + "".join(f'<li class="ill">{escape(trouble)}</li>' for trouble in troubles) + "</ul>"
        if troubles
        else '<p class="well">All is well.</p>'
    )
    states = [service(container)[2] for container in facts["services"]]
    return _PAGE.substitute(
        title=escape(f"{facts['project']}: {'all is well' if not troubles else f'{len(troubles)} to look at'}"),
        project=escape(facts["project"]),
        tag=escape(facts["tag"]),
        moment=when(status.moment),
        verdict=verdict,
        services=_table(services_table(status), ["" if well else "ill" for well in states]),
        steps=_steps(status.steps) if status.database else '<p class="dim">unknown</p>',
        database=escape(database_line(status)),
        sessions=_table(sessions_table(status)) if status.sessions else "",
        backups=_table(backups_table(status)) if facts["backups"] else '<p class="dim">none</p>',
        operations=_table(
            operations_table(status), ["" if one["outcome"] == "ok" else "ill" for one in reversed(facts["operations"])]
        )
        if facts["operations"]
        else '<p class="dim">none</p>',
    )


def _table(rows: Sequence[Sequence[str]], classes: Sequence[str] = ()) -> str:
    head, *body = rows
    lines = ['<div class="scroll"><table><tr>', *(f"<th>{escape(cell)}</th>" for cell in head), "</tr>"]
    for place, row in enumerate(body):
        lines.append(f'<tr class="{classes[place] if classes else ""}">')
        lines += [f"<td{_long(cell)}>{escape(cell)}</td>" for cell in row]
        lines.append("</tr>")
    return "".join([*lines, "</table></div>"])


def _long(cell: str) -> str:
    return ' class="long"' if len(cell) > 60 else ""


def _steps(steps: Sequence[Step]) -> str:
    lines = ['<ol class="steps">']
    for step in steps:
        done = f"{when(step.by.started_at)} UTC, {duration(step.by.seconds)}" if step.by else step.state
        lines.append(
            f'<li class="{escape(step.state)}"><code>{escape(step.revision)}</code> {escape(step.message)}'
            f' <span class="dim">{escape(done)}</span></li>'
        )
    return "".join([*lines, "</ol>"])
