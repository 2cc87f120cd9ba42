#!/usr/bin/env python3
"""usage: scripts/lint/shells.py   (in the tools container; `make lint`)

Runs shellcheck on every script of this folder. Which it found clean is kept in .cache/shellcheck, so that it is not
asked again until something changes that its answer hangs on: the script, those that it reads, .shellcheckrc, shellcheck
itself. What has a finding is not kept. To delete that file is safe.
"""

import contextlib
import functools
import hashlib
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

_SCRIPTS = (
    "scripts/*.sh",
    "scripts/*/*.sh",
    "services/*/*.sh",
    "services/*/*/*.sh",
    ".ci/run",
    ".github/actions/*/*.sh",
)
_COMMAND = ("shellcheck", "--external-sources")
_CLEAN = Path(".cache/shellcheck")
# Where a script may read another one: by a command, or by a directive. `. -x` and `. |` are arguments.
_COMMENT = re.compile(r"^\s*#.*", re.M)
_COMMANDS = re.compile(r"(?:^|[\s;&|({])(?:\.|source)[ \t]+([^\s;|-][^\s;]*)", re.M)
_DIRECTIVES = re.compile(r"^\s*#\s*shellcheck\b.*\bsource=(\S+)", re.M)


@functools.cache
def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _read_by(script: Path, known: dict[str, set[Path]]) -> set[Path] | None:
    """Return all that a script may read, itself included; by name, wherever it lies. None: that cannot be known."""
    found: set[Path] = set()
    ahead = {script}
    while ahead:
        path = ahead.pop()
        found.add(path)
        text = path.read_text()
        for each in _COMMANDS.findall(_COMMENT.sub("", text)) + _DIRECTIVES.findall(text):
            target = Path(each.strip("\"'"))
            named = known.get(target.name, set())
            if target.is_absolute():
                found |= {target} if target.is_file() else set()
            elif not named:
                return None
            ahead |= named - found
    return found


def _key(read: set[Path], script: Path, version: str) -> str:
    rules = Path(".shellcheckrc")
    parts = [version, *_COMMAND, str(script), _digest(rules) if rules.exists() else ""]
    parts += [f"{path} {_digest(path)}" for path in sorted(read)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _check(script: Path) -> bool:
    done = subprocess.run([*_COMMAND, str(script)], capture_output=True, text=True, check=False)  # noqa: S603 - a file of this folder
    sys.stdout.write(done.stdout + done.stderr)
    return done.returncode == 0


def _main() -> None:
    scripts = sorted({path for pattern in _SCRIPTS for path in Path().glob(pattern)})
    known: dict[str, set[Path]] = {}
    for script in scripts:
        known.setdefault(script.name, set()).add(script)
    version = subprocess.run(["shellcheck", "--version"], capture_output=True, text=True, check=True).stdout  # noqa: S607
    keys = {script: _key(read, script, version) for script in scripts if (read := _read_by(script, known))}
    clean = set(_CLEAN.read_text().split()) if _CLEAN.exists() else set()
    ahead = [script for script in scripts if keys.get(script) not in clean]
    with ThreadPoolExecutor(os.cpu_count()) as many:
        passed = dict(zip(ahead, many.map(_check, ahead), strict=True))
    kept = sorted(key for script, key in keys.items() if passed.get(script, True))
    with contextlib.suppress(OSError):  # where nothing can be kept, all is checked each time
        _CLEAN.parent.mkdir(exist_ok=True)
        written = _CLEAN.with_suffix(f".{os.getpid()}")
        written.write_text("\n".join(kept) + "\n")
        written.replace(_CLEAN)
    sys.exit(not all(passed.values()))


_main()
