"""A sheet to draw on: Matplotlib, told in points, y downwards; it writes SVG, whose text is text."""

import io
from itertools import pairwise

from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyArrowPatch, Rectangle
from matplotlib.path import Path

Point = tuple[float, float]

LINE = "#555555"
FONT_SIZE = 10
# How wide a character is: 0.6 of the font size, and a little.
CHARACTER = 6.1
# How high a line of text is, and the margin around the sheet.
ROW = 20


class Sheet:
    """A drawing of a width and a height, in points."""

    def __init__(self, width: float, height: float) -> None:
        margin = ROW
        self._figure = Figure(figsize=((width + 2 * margin) / 72, (height + 2 * margin) / 72))
        self._axes = self._figure.add_axes((0, 0, 1, 1))
        self._axes.set(xlim=(-margin, width + margin), ylim=(height + margin, -margin))
        self._axes.set_axis_off()

    def text(self, x: float, y: float, text: str, *, bold: bool = False, colour: str = "black") -> None:
        """Write a text that begins at x, centred on y."""
        # Every character is equally wide, in whatever font the reader has: so the boxes fit.
        self._axes.text(
            x, y, text, family="monospace", fontsize=FONT_SIZE, va="center_baseline", parse_math=False,
            weight="bold" if bold else "normal", color=colour,
        )  # fmt: skip

    def box(self, x: float, y: float, width: float, height: float, colour: str) -> None:
        """Draw a box with its left upper corner at x and y."""
        self._axes.add_patch(Rectangle((x, y), width, height, facecolor=colour, edgecolor=LINE, zorder=2))

    def dot(self, x: float, y: float, colour: str) -> None:
        """Draw a dot around a point."""
        self._axes.add_patch(Circle((x, y), 6, facecolor=colour, edgecolor=LINE, zorder=2))

    def line(self, points: list[Point], *, across: bool = True, arrow: bool = False) -> None:
        """Draw a line through the points, curved; it leaves and arrives horizontally (`across`) or vertically."""
        path = points[:1]
        for (x1, y1), (x2, y2) in pairwise(points):
            x, y = (x1 + x2) / 2, (y1 + y2) / 2
            path += [(x, y1), (x, y2), (x2, y2)] if across else [(x1, y), (x2, y), (x2, y2)]
        self._curves(path, arrow=arrow)

    def loop(self, start: Point, end: Point, out: float) -> None:
        """Draw an arrow that leaves to the right, towards `out`, and comes back from there."""
        self._curves([start, (out, start[1]), (out, end[1]), end], arrow=True)

    def _curves(self, points: list[Point], *, arrow: bool) -> None:
        path = Path(points, [Path.MOVETO] + [Path.CURVE4] * (len(points) - 1))
        style = "-|>,head_length=4,head_width=2" if arrow else "-"
        self._axes.add_patch(FancyArrowPatch(path=path, arrowstyle=style, color=LINE, lw=1, zorder=1))

    def svg(self) -> bytes:
        """Return the drawing as an SVG document."""
        written = io.BytesIO()
        # On white whatever the page around it is. Without date and with the same ids each time: no difference, no diff.
        with rc_context({"svg.fonttype": "none", "svg.hashsalt": "tangga"}):
            self._figure.savefig(written, format="svg", facecolor="white", metadata={"Date": None})
        return written.getvalue()
