"""Latency over time, safe forms above naive ones.

Also by hand, from the file that `scripts/under-load.sh --json` writes: python -m tests.load.plot RAW.json BOUND OUT.svg
"""

import json
import re
import sys
from collections import defaultdict
from pathlib import Path
from statistics import median
from typing import Any

import matplotlib

matplotlib.use("svg")
from matplotlib import pyplot
from matplotlib.axes import Axes

BIN = 0.25  # seconds; one point each, or the file would hold every request


def _bins(answers: list[dict[str, Any]]) -> dict[float, list[dict[str, Any]]]:
    bins = defaultdict(list)
    for answer in answers:
        bins[round(answer["due"] // BIN * BIN, 2)].append(answer)
    return bins


def _panel(axes: Axes, phase: dict[str, Any], bound: float) -> None:
    bins = _bins(phase["answers"])
    began = phase["step_began"]
    times = [time - began for time in bins]
    slowest = [max(answer["seconds"] for answer in each) for each in bins.values()]
    typical = [median(answer["seconds"] for answer in each) for each in bins.values()]
    lost = [(time - began, max(answer["seconds"] for answer in each)) for time, each in bins.items()
            if any(answer["status"] == 0 or answer["status"] >= 400 for answer in each)]  # fmt: skip
    axes.axvspan(0, phase["step_ended"] - began, color="#e8e8e8", linewidth=0, label="the step's container runs")
    axes.axhline(bound, color="#888888", linestyle="--", linewidth=0.8, label=f"lock_timeout + 0.5 s = {bound:g} s")
    axes.plot(times, slowest, color="#c44e00", linewidth=1, label=f"slowest request due in {BIN} s")
    axes.plot(times, typical, color="#0060a8", linewidth=1, label="median")
    if lost:
        axes.plot(*zip(*lost, strict=True), "x", color="#c00000", markersize=5, label="some of these failed")
    axes.set_yscale("log")
    axes.minorticks_off()
    axes.grid(axis="y", color="#f0f0f0")


def draw(raw: dict[str, Any], bound: float, file: Path) -> None:
    """Draw what `--json` writes; `bound` in seconds is shown as a line."""
    phases = [phase for phase in raw["phases"] if phase["form"]]
    operations = list(dict.fromkeys(phase["operation"] for phase in phases))
    # The same picture from the same figures, and text as text.
    matplotlib.rcParams.update({"svg.hashsalt": "tangga", "svg.fonttype": "none", "font.size": 8})
    figure, grid = pyplot.subplots(
        2, len(operations), figsize=(2.6 * len(operations), 5.2), sharey=True, sharex="col", squeeze=False
    )
    for phase in phases:
        row, column = ("safe", "naive").index(phase["form"]), operations.index(phase["operation"])
        _panel(grid[row][column], phase, bound)
        grid[row][column].set_title(f"{phase['operation']}, {phase['form']}")
        grid[row][0].set_ylabel("latency, s")
        grid[1][column].set_xlabel("s since the step's start")
    named = {label: line for axes in figure.axes for line, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(list(named.values()), list(named), loc="lower center", ncols=5, frameon=False)
    how = raw["how"]
    figure.suptitle(
        f"{how['posts']:,} posts, {how['requests a second']:g} requests/s; "
        f"another transaction holds the table for {how['job holds, s']:g} s from the moment at which the migrator comes"
    )
    figure.tight_layout(rect=(0, 0.05, 1, 1))
    figure.savefig(file, format="svg", metadata={"Date": None})
    # A tenth of a point is enough: a third less to store.
    file.write_text(re.sub(r"(\.\d)\d+", r"\1", file.read_text()))


if __name__ == "__main__":
    draw(json.loads(Path(sys.argv[1]).read_text()), float(sys.argv[2]), Path(sys.argv[3]))
