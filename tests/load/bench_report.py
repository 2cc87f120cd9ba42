"""What `make bench` has measured, for a person: ratios with their spread, targets beside them, and a picture.

Also by hand, from the file that `scripts/bench.sh --json` writes: python -m tests.load.bench_report RAW.json [OUT.svg]
"""

import json
import re
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles
from typing import Any

ROUTES = ("GET by id, public", "GET by id, token", "list of 10, token", "create, token")
CONTENDERS = ("course", "baseline", "api", "raw", "constant", "pgbench")
BEGIN, END = "<!-- make bench: begin -->", "<!-- make bench: end -->"


Of = tuple[str, str]  # route, who answers


@dataclass
class Figure:
    """One ratio (or amount) per round, and the target, such as ">= 2.7"; no target: for information."""

    name: str
    values: list[float]
    target: str = ""
    unit: str = ""

    @property
    def met(self) -> bool | None:
        if not self.target or not self.values:
            return None
        relation, bound = self.target.split()
        return median(self.values) >= float(bound) if relation == ">=" else median(self.values) <= float(bound)

    def cells(self) -> list[str]:
        if not self.values:
            return [self.name, "not measured", "", "", ""]
        low, high = spread(self.values)
        verdict = {None: "", True: "ok", False: "BELOW" if self.target.startswith(">") else "ABOVE"}[self.met]
        alone = len(set(self.values)) == 1
        between = "" if alone else f"{number(low)} - {number(high)}"
        return [self.name, number(median(self.values)) + self.unit, between, self.target, verdict]


def spread(values: list[float]) -> tuple[float, float]:
    """Return the lower and the upper quartile."""
    if len(values) < 2:
        return values[0], values[0]
    low, _, high = quantiles(values, n=4, method="inclusive")
    return low, high


def number(value: float) -> str:
    """Write three digits that count."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


class Turns:
    """The turns of a run, by what was measured."""

    def __init__(self, raw: dict[str, Any]) -> None:
        self.all: list[dict[str, Any]] = raw["turns"]

    def by_round(self, route: str, app: str, what: str, connections: int | None = None) -> dict[int, float]:
        return {
            turn["round"]: turn[what]
            for turn in self.all
            if turn["route"] == route
            and turn["app"] == app
            and connections in (None, turn.get("connections"))
            and (turn.get("requests", 1) or what in ("rate", "failed"))  # without an answer there is no latency
        }

    def values(self, route: str, app: str, what: str, connections: int | None = None) -> list[float]:
        return [*self.by_round(route, app, what, connections).values()]

    def ratio(
        self, of: Of, to: Of, what: str = "rate", connections: tuple[int | None, int | None] = (None, None)
    ) -> list[float]:
        """Ratios of two turns of the same round: what the machine did meanwhile, it did to both."""
        above, below = self.by_round(*of, what, connections[0]), self.by_round(*to, what, connections[1])
        return [above[round_] / below[round_] for round_ in sorted(above.keys() & below.keys()) if below[round_]]


def figures(raw: dict[str, Any]) -> list[Figure]:
    """Every figure that has a target, and some that explain them."""
    turns = Turns(raw)
    public, token, page, create = ROUTES

    def rate(route: str, to: str, target: str = "") -> Figure:
        return Figure(f"{route}: rate / {to}'s", turns.ratio((route, "api"), (route, to)), target)

    found = [
        rate(public, "baseline", ">= 2.7"),
        rate(public, "raw", ">= 0.65"),
        rate(token, "course", ">= 5"),
        rate(token, "baseline"),
        rate(page, "course", ">= 28"),
        rate(page, "baseline"),
        rate(create, "course", ">= 4.5"),
        rate(create, "baseline"),
    ]
    found += [
        Figure(f"{route}: p99 / baseline's", turns.ratio((route, "api"), (route, "baseline"), "p99"), "<= 0.5")
        for route in ROUTES
    ]
    for route in (token, create):
        many = f"{route}, many"
        for count in (256, 1000):
            ratio = turns.ratio((many, "api"), (many, "api"), connections=(count, 32))
            failed = sum(turns.values(many, "api", "failed", count))
            found.append(Figure(f"{route}: rate at {count:,} connections / at 32", ratio, ">= 0.9"))
            found.append(Figure(f"{route}: failed at {count:,} connections", [failed], "<= 0"))
    stalls = turns.ratio((f"{token}, many", "api"), (f"{token}, many", "baseline"), connections=(256, 256))
    found.append(Figure(f"{token}: rate at 256 connections / baseline's", stalls, ">= 1"))
    for count in (256, 1000):
        ratio = turns.ratio((f"{token}, many", "baseline"), (f"{token}, many", "baseline"), connections=(count, 32))
        found.append(Figure(f"baseline, {token}: rate at {count:,} connections / at 32", ratio))
    found += [
        Figure(f"{route}: statements", [each["api"]["per request"]], "<= 1")
        for route, each in raw["statements"].items()
    ]
    start = turns.values("start-up", "api", "ms"), turns.values("start-up", "baseline", "ms")
    found += [
        Figure(
            "start-up, 2 workers: exec to first 200 / baseline's",
            turns.ratio(("start-up", "api"), ("start-up", "baseline"), "ms"),
            "<= 1",
        ),
        Figure("start-up, API", start[0], unit=" ms"),
        Figure("start-up, baseline", start[1], unit=" ms"),
        Figure("memory of a worker (PSS), API", raw["memory"]["api"], "<= 45", " MiB"),
        Figure("memory of a worker (PSS), baseline", raw["memory"]["baseline"], unit=" MiB"),
        Figure(
            "memory of a worker (PSS) after 1,000 connections and log-in storms, API",
            raw["memory in the end"]["api"],
            unit=" MiB",
        ),
    ]
    small, large = ("page of 10, small table", "api"), ("page of 10, large table", "api-large")
    deep, offset = ("keyset page, deep", "api-large"), ("OFFSET page, deep", "api-large")
    if turns.values(*large, "p50"):
        found += [
            Figure("list of 10: latency, large table / small", turns.ratio(large, small, "p50"), "<= 1.5"),
            Figure("keyset page at 90 % depth: latency / first page", turns.ratio(deep, large, "p50"), "<= 1.5"),
            Figure(
                "keyset page at 90 % depth: latency / small table's list", turns.ratio(deep, small, "p50"), "<= 1.5"
            ),
            Figure("the same page by OFFSET: latency / first page", turns.ratio(offset, large, "p50")),
            Figure(
                "GET by id: rate, large table / small",
                turns.ratio(("GET by id, large table", "api-large"), (public, "api")),
            ),
        ]
    alone = ("GET by id, alone", "api")
    storm = ("GET by id, beside a log-in storm", "api")
    lock = ("GET by id, beside a 2 s statement", "api")
    log_ins = turns.values(*storm, "log_ins")
    shares = [min(1, each * raw["hash seconds"] / raw["how"]["cores"]) for each in log_ins]
    found += [
        Figure("beside a 2 s statement: p99 / alone", turns.ratio(lock, alone, "p99"), "<= 1.2"),
        Figure("beside a log-in storm: GET rate / alone", turns.ratio(storm, alone), f">= {1 - median(shares):.2f}"),
        Figure("beside a log-in storm: GET p99 / alone", turns.ratio(storm, alone, "p99")),
        Figure("log-in storm: log-ins a second", log_ins),
        Figure("log-in storm: its share of the processor", shares),
        Figure("a log-in of nobody: processor time / of somebody", raw.get("hash of nobody", []), ">= 0.9"),
    ]
    return found


def missed(raw: dict[str, Any]) -> list[str]:
    """Return the names of the figures that miss their target."""
    return [each.name for each in figures(raw) if each.met is False]


def rates(raw: dict[str, Any]) -> list[list[str]]:
    """Requests a second, and latency, of everybody."""
    turns, rows = Turns(raw), []
    for route in ROUTES:
        for app in CONTENDERS:
            values = turns.values(route, app, "rate")
            if values:
                latency = [number(median(turns.values(route, app, "p50")))]
                latency += [number(median(turns.values(route, app, "p99")))] if app != "pgbench" else [""]
                low, high = spread(values)
                rows.append([route, app, number(median(values)), f"{number(low)} - {number(high)}", *latency])
    return rows


def many(raw: dict[str, Any]) -> list[list[str]]:
    """What happens at 32, 256 and 1,000 connections."""
    turns, rows = Turns(raw), []
    for route in (ROUTES[1], ROUTES[3]):
        for app in ("api", "baseline"):
            for count in (32, 256, 1000):
                wanted = (f"{route}, many", app, count)
                of = [t for t in turns.all if (t["route"], t["app"], t.get("connections")) == wanted]
                if not of:
                    continue
                statuses = sum((Counter(t["statuses"]) for t in of), Counter[str]())
                by_status = " ".join(f"{status}: {n}" for status, n in sorted(statuses.items())) or "none"
                lost = sum(t["no_answer"] + t["timeouts"] for t in of)
                rate, p99 = median(t["rate"] for t in of), median(t["p99"] for t in of)
                rows.append([route, app, f"{count:,}", number(rate), number(p99), by_status, str(lost)])
    return rows


def counted(raw: dict[str, Any]) -> list[list[str]]:
    return [
        [route, *(f"{each[app]['per request']:g} ({', '.join(each[app]['kinds'])})" for app in ("api", "baseline"))]
        for route, each in raw["statements"].items()
    ]


TABLES = (
    ("Targets", ("figure", "median", "quartiles", "target", ""), lambda raw: [each.cells() for each in figures(raw)]),
    ("Requests a second, 32 connections", ("route", "who", "rate", "quartiles", "p50, ms", "p99, ms"), rates),
    ("Many connections", ("route", "who", "connections", "rate", "p99, ms", "answers by status", "unanswered"), many),
    ("Statements per request, in PostgreSQL's log", ("route", "API", "baseline"), counted),
)


def as_text(raw: dict[str, Any]) -> str:
    """Return the tables for a terminal."""
    parts = []
    for title, header, rows in TABLES:
        cells = [list(header), *rows(raw)]
        widths = [max(len(row[n]) for row in cells) for n in range(len(header))]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells
        ]
        parts.append("\n".join([f"\n{title}", *lines]))
    names = missed(raw)
    verdict = "Every target is met." if not names else "Missed: " + "; ".join(names)
    return "\n".join([*parts, "", verdict])


def as_markdown(raw: dict[str, Any]) -> str:
    """Return the same tables for a page."""
    how = "; ".join(
        f"{name} {value:,}" if isinstance(value, int) else f"{name} {value}" for name, value in raw["how"].items()
    )
    parts = [f"Measured: {how}."]
    for title, header, rows in TABLES:
        lines = [f"| {' | '.join(row)} |" for row in (header, ["---"] * len(header), *rows(raw))]
        parts.append("\n".join([f"### {title}", "", *lines]))
    return "\n\n".join(parts)


def write_markdown(raw: dict[str, Any], page: Path) -> None:
    """Put the tables between the markers of a page."""
    before, _, rest = page.read_text().partition(BEGIN)
    _, found, after = rest.partition(END)
    if not found:
        raise SystemExit(
            f"error: {page} has no place for the tables\n   do: put a line {BEGIN} and a line {END} into it"
        )
    page.write_text(f"{before}{BEGIN}\n\n{as_markdown(raw)}\n\n{END}{after}")


def draw(raw: dict[str, Any], file: Path) -> None:
    """Draw the rates as ratios to the baseline's, and latency over the number of connections."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    turns = Turns(raw)
    # The same picture from the same figures, and text as text.
    matplotlib.rcParams.update({"svg.hashsalt": "tangga", "svg.fonttype": "none", "font.size": 8})
    colours = {
        "course": "#bbbbbb",
        "baseline": "#777777",
        "api": "#0060a8",
        "raw": "#c44e00",
        "constant": "#c8a000",
        "pgbench": "#3a7d34",
    }
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 3.6), width_ratios=(2, 1))
    for place, route in enumerate(ROUTES):
        for n, app in enumerate(each for each in CONTENDERS if turns.values(route, each, "rate")):
            ratios = turns.ratio((route, app), (route, "baseline"))
            low, high = spread(ratios)
            middle = median(ratios)
            left.bar(
                place + n * 0.14, middle, 0.13, color=colours[app], yerr=[[middle - low], [high - middle]],
                error_kw={"linewidth": 0.8}, label=app if place == 0 else None,
            )  # fmt: skip
            left.text(place + n * 0.14, middle * 1.12, number(middle), ha="center", fontsize=6)
    left.set_yscale("log")
    left.minorticks_off()
    left.set_xticks([n + 0.2 for n in range(len(ROUTES))], list(ROUTES))
    left.set_ylabel("rate, baseline = 1")
    left.set_title("32 connections; bars: median, lines: quartiles of the rounds")
    left.legend(frameon=False, ncols=5, loc="upper left", fontsize=7)
    left.set_ylim(top=left.get_ylim()[1] * 3)
    route = f"{ROUTES[1]}, many"
    for app in ("api", "baseline"):
        counts = [count for count in (32, 256, 1000) if turns.values(route, app, "rate", count)]
        middles = [median(turns.values(route, app, "rate", count)) for count in counts]
        right.plot(counts, middles, "o-", color=colours[app], label=app, markersize=4)
    right.set_xscale("log")
    right.minorticks_off()
    right.set_xticks([32, 256, 1000], ["32", "256", "1,000"])
    right.set_ylim(bottom=0)
    right.set_xlabel("connections")
    right.set_ylabel("requests/s")
    right.set_title(ROUTES[1])
    right.legend(frameon=False)
    figure.tight_layout()
    figure.savefig(file, format="svg", metadata={"Date": None})
    # A tenth of a point is enough: a third less to store.
    file.write_text(re.sub(r"(\.\d)\d+", r"\1", file.read_text()))


if __name__ == "__main__":
    measured = json.loads(Path(sys.argv[1]).read_text())
    print(as_text(measured))
    if len(sys.argv) > 2:
        draw(measured, Path(sys.argv[2]))
