"""The steps and the tables in a terminal, drawn by rich."""

from alembic.script import ScriptDirectory
from rich import box
from rich.columns import Columns
from rich.console import Console, RenderableType
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from tangga.graph.drawing import Schema
from tangga.graph.lanes import Place, lanes
from tangga.graph.states import LOOKS
from tangga.journal.history import title


def show_steps(scripts: ScriptDirectory, states: dict[str, str]) -> None:
    """Print the steps, the newest first."""
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for header in ("", "revision", "message", "state"):
        table.add_column(header, no_wrap=True)
    for place in lanes(scripts.walk_revisions())[0]:
        script = place.script
        look = LOOKS[states[script.revision]]
        before, after = _line(place)
        graph = Text.assemble((before, "dim"), (look.sign, look.style), (after, "dim"))
        state = Text(states[script.revision], look.style)
        table.add_row(graph, Text(script.revision, look.style), Text(title(script)), state)
    _show(table)


def show_tables(schema: Schema, at: str) -> None:
    """Print the tables side by side, as many in a row as the terminal takes."""
    shown = []
    for name, columns in schema.tables.items():
        table = Table(title=name, title_style="bold", box=box.ROUNDED, show_header=False, title_justify="left")
        for style in ("yellow", "", "dim", "cyan"):
            table.add_column(style=style, overflow="fold")
        for column in columns:
            table.add_row(
                *(Text(each) for each in (column.keys, column.name, column.type, column.to and f"→ {column.to}"))
            )
        shown.append(table)
    _show(Text(f"\nTables at {at}" if shown else f"\nNo tables at {at}", "bold"), *shown)


def _line(place: Place) -> tuple[str, str]:
    """Return what a row of the graph shows left and right of the step's own sign."""
    reach = [place.lane, *place.ending, *place.opening]
    left, right = min(reach), max(reach)
    lanes_here = range(max(right, *place.passing, 0) + 1)
    line = "".join(_sign(place, lane, left, right) + ("─" if left <= lane < right else " ") for lane in lanes_here)
    return line[: 2 * place.lane], line[2 * place.lane + 1 :]


def _sign(place: Place, lane: int, left: int, right: int) -> str:
    """Return what stands in a lane of a row whose horizontal line runs from `left` to `right`."""
    if lane in place.ending:
        return "╯" if lane == right else "┴" if lane > place.lane else "╰"
    if lane in place.opening:
        return "╮" if lane == right else "┬" if lane > place.lane else "╭"
    if lane in place.passing:
        return "┼" if left < lane < right else "│"
    return "─" if left < lane < right else " "


def _show(*parts: RenderableType) -> None:
    """Print, on a terminal side by side where there is room; elsewhere without colours, each as wide as it is."""
    console = Console(highlight=False)
    heading, *others = parts
    if console.is_terminal:
        console.print(heading, Columns(others, padding=(1, 2)) if others else "", sep="\n")
        return
    for part in parts:
        widest = Measurement.get(console, console.options.update(width=10_000), part).maximum
        Console(highlight=False, width=widest).print(part)
