"""What is to be seen without any server: the configuration, env.py, the steps, the driver, the models, git."""

import ast
import configparser
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from alembic.util import CommandError

from tangga.causes import one_line
from tangga.doctor.model import Sign
from tangga.exits import Stop
from tangga.project import Project
from tangga.revision import files as revision_files
from tangga.words import count

_DRIVERS = ("psycopg2", "psycopg")
# What stands in env.py -> what it means for tangga.
_ENV = {
    "guarded": "guarded",
    "connected": "guarded",
    "run_sync": "asynchronous",
    "async_engine_from_config": "asynchronous",
    "creator": "creator=",
    "include_object": "include_object",
    "include_name": "include_name",
    "version_table": "version_table",
    "version_table_schema": "version_table_schema",
    "upgrade_token": "several databases",
    "SQLModel": "SQLModel",
}


def configuration(project: Project) -> Sign:
    """Look at Alembic's configuration: the file, the section, the folder of the steps."""
    config = project.config
    names = [Path(name) for name in (config.config_file_name, config.toml_file_name) if name and Path(name).exists()]
    where = " and ".join(name.name for name in names)
    if not names:
        return Sign("configuration", "bad", "no alembic.ini, no [tool.alembic]", "go to its folder, or name it: -c")
    if not project.has_steps:
        return Sign("configuration", "bad", f"{where} names no script_location", "name a section of the file: -n NAME")
    try:
        folder = Path(project.scripts.dir)
    except CommandError as error:
        return Sign("configuration", "bad", f"{where}: {one_line(error)}", "correct script_location")
    shown = folder.relative_to(project.folder) if folder.is_relative_to(project.folder) else folder
    others = _sections(names, config.config_ini_section)
    text = f"{where}, section {config.config_ini_section}, steps in {shown}"
    return Sign("configuration", "good", text + (f"; others: -n {', -n '.join(others)}" if others else ""))


def _sections(names: list[Path], but: str) -> list[str]:
    found = configparser.ConfigParser(interpolation=None, strict=False)
    found.read([name for name in names if name.suffix != ".toml"])
    return [name for name in found.sections() if name != but and found.has_option(name, "script_location")]


def env_py(project: Project) -> list[Sign]:
    """Read env.py, which is not run: what it is, and what of it cannot be brought to a scratch server."""
    file = Path(project.scripts.dir) / "env.py"
    try:
        tree = ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError) as error:
        return [Sign("env.py", "bad", one_line(error), f"mend {file.name}")]
    words = {
        name
        for node in ast.walk(tree)
        for name in (getattr(node, key, None) for key in ("id", "attr", "arg", "name"))
        if isinstance(name, str)
    }
    kinds = sorted({_ENV[word] for word in words if word in _ENV})
    if "guarded" in kinds:
        return [Sign("env.py", "good", ", ".join(kinds))]
    remedy = ""
    if "several databases" in kinds:
        remedy = "plan and verify refuse it: give each database a section in alembic.ini, and name it with -n"
    elif "creator=" in kinds:
        remedy = "plan and verify refuse such a connection: let tangga.connected make it"
    text = ", ".join([*kinds, "without tangga.guarded: upgrade has no lock, time-outs, log and saves"])
    return [Sign("env.py", "note", text, remedy)]


def files(project: Project) -> list[Sign]:
    """Load the files of the steps; count heads, bases and merges."""
    try:
        revision_files.strict(*project.scripts._version_locations)
        steps = project.revisions()
    except (Exception, SystemExit) as error:
        said = revision_files.explained(error, lambda: project.scripts)
        what, remedy = (said.what, said.remedy) if said else (one_line(error), "mend it; tangga lint names each file")
        return [Sign("files", "bad", what, remedy)]
    heads, bases = project.scripts.get_heads(), project.scripts.get_bases()
    merges = sum(step.is_merge_point for step in steps)
    depends = sum(bool(step.dependencies) for step in steps)
    parts = [count(len(steps), "step"), count(len(bases), "base")]
    parts += [count(merges, "merge")] if merges else []
    parts += [f"depends_on in {depends}"] if depends else []
    found = [Sign("files", "good" if steps else "note", ", ".join(parts))]
    if len(heads) > 1:
        labels = any(step.branch_labels for step in steps)
        remedy = "go to heads, or to one by its label" if labels else "join them: alembic merge heads"
        found.append(Sign("heads", "note", f"{len(heads)}: {', '.join(sorted(heads))}", remedy))
    elif heads:
        found.append(Sign("heads", "good", heads[0]))
    return found


def driver() -> Sign:
    """Look for a synchronous driver: one is needed, whichever env.py uses."""
    found = [f"{name} {_version(name)}" for name in _DRIVERS if find_spec(name)]
    asynchronous = [f"{name} {_version(name)}" for name in ("asyncpg",) if find_spec(name)]
    if not found:
        only = f" ({', '.join(asynchronous)} alone)" if asynchronous else ""
        return Sign("driver", "bad", f"neither psycopg2 nor psycopg{only}", "pip install 'tangga[psycopg]'")
    return Sign("driver", "good", ", ".join(found + asynchronous))


def _version(name: str) -> str:
    for package in (name, f"{name}-binary"):
        try:
            return version(package)
        except PackageNotFoundError:
            continue
    return "of no package"


def models(project: Project) -> list[Sign]:
    """Import the models, if [tool.tangga] says where they are."""
    if "metadata" not in project.table:
        text = "[tool.tangga] does not name them; plan and verify take target_metadata of env.py"
        return [Sign("models", "note", text)]
    try:
        if project.has_steps:
            project.scripts  # noqa: B018 - it puts prepend_sys_path on the path
        tables = [table for metadata in project.metadata for table in metadata.tables.values()]
    except (Exception, SystemExit) as error:
        remedy = error.remedy if isinstance(error, Stop) else "mend what it names"
        return [Sign("models", "bad", one_line(error), remedy)]
    schemas = sorted({table.schema for table in tables if table.schema})
    return [Sign("models", "good", count(len(tables), "table") + (f" in {', '.join(schemas)}" if schemas else ""))]


def linters() -> Sign:
    """Look for what lint, plan and verify read SQL with."""
    squawk = Path(sys.executable).with_name("squawk").exists() or shutil.which("squawk")
    lacks = [name for name, there in (("pglast", find_spec("pglast")), ("squawk", squawk)) if not there]
    if lacks:
        return Sign("linters", "bad", f"no {' and no '.join(lacks)}", "pip install 'tangga[lint]'")
    return Sign("linters", "good", "pglast, squawk")


def git(project: Project) -> Sign:
    """Ask git whether it keeps this folder: `lint --since` compares with a branch."""
    try:
        said = subprocess.run(
            ["git", "rev-parse", "--abbrev-ref", "HEAD"],  # noqa: S607 - whichever is on PATH
            cwd=project.folder, capture_output=True, text=True, timeout=10, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return Sign("git", "note", "not here; lint --since needs it")
    if said.returncode != 0:
        return Sign("git", "note", "this folder is in no work tree with a commit; lint --since needs one")
    return Sign("git", "good", f"branch {said.stdout.strip()}")
