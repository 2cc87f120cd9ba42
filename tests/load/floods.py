"""What others notice of one address that floods: their reads, lists, writes and log-ins, with the flood and without.

Run by scripts/bench-floods.sh, which says what it needs. On stacks of its own, first directly at the API, then behind
the proxy; the attacker (attacker.py) is in a container on their network, so its address is not the victim's. In turns,
so that what the machine did meanwhile it did to both. A target that is missed is printed; with --strict it is the exit
code too.
"""

import argparse
import json
import os
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import httpx2

from tests.load.attacker import KINDS as FLOODS
from tests.load.loadtest import fill
from tests.stack.conftest import REPOSITORY, Stack, copy_tree

ASKED = ("read", "list", "write", "log-in")
NONE = "none"
TARGET = 5.0  # with the flood / without, of whatever the victim asks
BOUNDED = FLOODS[:3]  # how many new connections an address may open is not (decision 35)
MOST = {"seconds": 30, "rounds": 9, "connections": 500}
BEFORE, AFTER = 1.0, 1.0  # seconds that a flood is longer than what is measured beside it
EMAIL = "victim@example.com"


@dataclass
class Turn:
    """What the victim saw beside one flood (or none), in seconds; and what the attacker was answered."""

    place: str
    flood: str
    round: int
    seconds: dict[str, list[float]]
    refused: Counter[str] = field(default_factory=Counter)
    attacker: Counter[str] = field(default_factory=Counter)


def ratios(turns: list[Turn], place: str, flood: str, asked: str) -> list[float]:
    """Return the victim's medians with a flood by those without, of each round in which there are both."""

    def medians(which: str) -> dict[int, float]:
        chosen = [turn for turn in turns if (turn.place, turn.flood) == (place, which) and turn.seconds.get(asked)]
        return {turn.round: median(turn.seconds[asked]) for turn in chosen}

    with_it, without = medians(flood), medians(NONE)
    return [with_it[each] / without[each] for each in sorted(with_it.keys() & without.keys())]


def rows(turns: list[Turn]) -> Iterator[list[str]]:
    """Yield a line of the table for each place and flood: medians in ms, and in brackets the ratio."""
    for place, flood in dict.fromkeys((turn.place, turn.flood) for turn in turns):
        these = [turn for turn in turns if (turn.place, turn.flood) == (place, flood)]
        cells = []
        for asked in ASKED:
            seconds = [each for turn in these for each in turn.seconds.get(asked, [])]
            shown = f"{1000 * median(seconds):.0f}" if seconds else "-"
            found = [] if flood == NONE else ratios(turns, place, flood, asked)
            cells.append(f"{shown} ({median(found):.1f})" if found else shown)
        refused = sum((turn.refused for turn in these), Counter[str]())
        attacker = sum((turn.attacker for turn in these), Counter[str]())
        yield [place, flood, *cells, _counts(refused), _counts(attacker)]


def _counts(counts: Counter[str]) -> str:
    return " ".join(f"{what}: {count}" for what, count in sorted(counts.items())) or "-"


def missed(turns: list[Turn]) -> list[str]:
    """Return what is above its target, or was not measured, and what the victim was refused."""
    found = []
    for place, flood in dict.fromkeys((turn.place, turn.flood) for turn in turns if turn.flood != NONE):
        for asked in ASKED if flood in BOUNDED else ():
            values = ratios(turns, place, flood, asked)
            if not values or median(values) > TARGET:
                shown = f"{median(values):.1f} times as long" if values else "not answered"
                found.append(f"{place}, {flood}, {asked}: {shown} (<= {TARGET:g})")
    for turn in turns:
        if turn.refused:
            found.append(f"{turn.place}, {turn.flood}: the victim was refused: {_counts(turn.refused)}")
    return found


def table(lines: list[list[str]]) -> str:
    """Align the cells."""
    widths = [max(len(line[n]) for line in lines) for n in range(len(lines[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


class Place:
    """A stack that is flooded: its network, and who answers there."""

    def __init__(self, name: str, stack: Stack, options: argparse.Namespace) -> None:
        self.name, self._stack, self._options = name, stack, options
        proxied = name == "proxy"
        self._at = ("proxy", "8443", "tls") if proxied else ("api", "8000", "plain")
        self._network = f"{stack.name}_{'public' if proxied else 'published'}"
        self._headers: dict[str, str] = {}

    def start(self) -> None:
        """Start the stack, with posts to look for and a victim who has an account."""
        if self.name == "proxy":
            self._stack.in_production()
        self._stack.make("up")
        fill(self._stack)
        self._headers = self._stack.log_in(EMAIL)

    def turn(self, flood: str, number: int) -> Turn:
        """Measure beside one flood, from a state in which nobody has been refused yet."""
        self._forget()
        with self._flooded(flood) as attacker, ThreadPoolExecutor(2) as victims:
            turn = Turn(self.name, flood, number, {})
            both = [victims.submit(self._ask, turn, kinds) for kinds in (ASKED[:3], ASKED[3:])]
            for each in both:
                each.result()
        turn.attacker = attacker
        return turn

    def _forget(self) -> None:
        self._stack.sql("TRUNCATE login_attempts")
        if self.name == "proxy":
            for each in ("searches", "registrations"):
                door = f"echo 'clear table {each}' | socat - UNIX-CONNECT:/run/haproxy/admin.sock"
                self._stack.compose("exec", "-T", "proxy", "sh", "-c", door)

    @contextmanager
    def _flooded(self, flood: str) -> Iterator[Counter[str]]:
        seen: Counter[str] = Counter()
        if flood == NONE:
            yield seen
            return
        code, length = (REPOSITORY / "tests/load/attacker.py").read_text(), self._options.seconds + BEFORE + AFTER
        image, count = self._stack.setting("PYTHON_IMAGE"), str(self._options.connections)
        command = ["docker", "run", "--rm", "--network", self._network, "--cpus", "0.5", image, "python3", "-c", code]
        with subprocess.Popen(
            [*command, *self._at, flood, count, str(length)], stdout=subprocess.PIPE, text=True
        ) as attacker:
            assert attacker.stdout
            assert attacker.stdout.readline() == "begun\n", "the attacker did not begin"
            time.sleep(BEFORE)
            yield seen
            seen.update(json.loads(attacker.stdout.read()))

    def _ask(self, turn: Turn, kinds: tuple[str, ...]) -> None:
        """Ask again and again, one after another, on a connection that is kept."""
        body = {"nama": "Ani", "umur": 1, "alamat": "Jl. Melati 1"}
        with httpx2.Client(base_url=self._stack.url, verify=self._stack.verify, timeout=60, trust_env=False) as client:
            ask: dict[str, Callable[[], Any]] = {
                "read": lambda: client.get("/posts/1"),
                "list": lambda: client.get("/posts"),
                "write": lambda: client.post("/posts", json=body, headers=self._headers),
                "log-in": lambda: client.post("/login", data={"username": EMAIL, "password": "rahasia-123"}),
            }
            end = time.monotonic() + self._options.seconds
            while time.monotonic() < end:
                for kind in kinds:
                    began = time.monotonic()
                    status = ask[kind]().status_code
                    if status in (200, 201):
                        turn.seconds.setdefault(kind, []).append(time.monotonic() - began)
                    else:
                        turn.refused[f"{kind} {status}"] += 1


def measure(options: argparse.Namespace, folder: Path) -> list[Turn]:
    """Measure at both places, each on a stack that is removed afterwards."""
    turns: list[Turn] = []
    # What the proxy refuses, the API would answer.
    for name, floods in (("api", (NONE, *FLOODS[:-1])), ("proxy", (NONE, *FLOODS))):
        (folder / name).mkdir()
        copy_tree(folder / name)
        stack = Stack(folder / name, f"tangga-floods-{name}-{os.getpid()}")
        try:
            place = Place(name, stack, options)
            place.start()
            for number in range(options.rounds):
                by = number % len(floods)
                turns += [place.turn(flood, number) for flood in (*floods[by:], *floods[:by])]
                print(f"{name}: round {number + 1} of {options.rounds}", flush=True)
        finally:
            stack.remove()
    return turns


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/bench-floods.sh", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="rounds (3)")
    parser.add_argument("--seconds", type=int, default=8, help="seconds a turn (8)")
    parser.add_argument("--connections", type=int, default=140, help="connections of the attacker (140)")
    parser.add_argument("--strict", action="store_true", help="end with 1 if a target is missed")
    options = parser.parse_args()
    for name, most in MOST.items():
        if not 1 <= getattr(options, name) <= most:
            parser.error(f"--{name}: 1 to {most}")
    # docker stop, kill: clean up as on Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    print(f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}", flush=True)
    with tempfile.TemporaryDirectory(prefix="tangga-floods-") as folder:
        try:
            turns = measure(options, Path(folder))
        except KeyboardInterrupt:
            raise SystemExit(130) from None
    head = ["at", "flood", *(f"{each}, ms" for each in ASKED), "refused", "the attacker's answers"]
    print(f"\nMedians; in brackets: with the flood / without, median of the rounds.\n\n{table([head, *rows(turns)])}")
    found = missed(turns)
    print("\n".join(["", *(f"Missed: {line}" for line in found)]) if found else "\nAll targets are met.")
    if found and options.strict:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
