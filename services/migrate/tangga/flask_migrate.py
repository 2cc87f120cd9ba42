"""Projects of Flask-Migrate, whose own command line knows two things that Alembic's does not.

Its alembic.ini lies beside env.py, by default in `migrations`, and names no script_location: the folder is given on the
command line. And env.py asks for `current_app`: Flask's command line loads the application, as FLASK_APP or a file
wsgi.py or app.py names it (flask.palletsprojects.com/en/stable/cli: "Application Discovery").
"""

import os
import sys
from collections.abc import Iterator
from configparser import RawConfigParser
from contextlib import contextmanager, nullcontext, redirect_stdout
from importlib import import_module
from pathlib import Path
from typing import Any

from alembic.config import Config

from tangga.causes import one_line
from tangga.exits import WRONG_SETTING, Stop

_INI = Path("migrations/alembic.ini")
_ASKED_FOR = "current_app"


def found(here: Path) -> str | None:
    """Return the configuration file where Flask-Migrate puts it; None if there is none."""
    return str(_INI) if (here / _INI).exists() and (here / _INI).with_name("env.py").exists() else None


def complete(config: Config) -> Path | None:
    """Say where the steps are, if the file lies beside them and does not; return the project's folder, if so."""
    file = Path(config.config_file_name or "").absolute()
    if not file.is_file() or not file.with_name("env.py").exists() or _says_where(config):
        return None
    steps = file.parent
    # The project's folder is where Flask looks for the application, and what the steps import from.
    given = {"script_location": steps, "prepend_sys_path": steps.parent, "path_separator": "os"}
    for name, value in given.items():
        if not config.get_alembic_option(name):
            config.set_main_option(name, str(value).replace("%", "%%"))
    return steps.parent


def _says_where(config: Config) -> bool:
    # As it stands in the files: this module, and Flask-Migrate, set the option afterwards.
    file = RawConfigParser(strict=False)
    file.read(config.config_file_name or ())
    section = config.config_ini_section
    here = not file.has_section(section) or file.has_option(section, "script_location")
    return here or "script_location" in config.toml_alembic_config


@contextmanager
def application(env: Path, *, needed: bool) -> Iterator[None]:
    """Let the body run within the context of the application, if this env.py asks for one.

    Raises Stop if it is needed and cannot be loaded.
    """
    wanted = env.exists() and _ASKED_FOR in env.read_text(encoding="utf-8", errors="replace")
    app = _loaded(needed=needed) if wanted else None
    with app.app_context() if app else nullcontext():
        yield


def _loaded(*, needed: bool) -> Any:
    try:
        # By name: flask is no dependency of this package. What an application prints is not a command's output.
        flask, cli = import_module("flask"), import_module("flask.cli")
        if flask.has_app_context():  # within a `flask` command
            return None
        with redirect_stdout(sys.stderr):
            cli.load_dotenv()
            return cli.ScriptInfo(os.environ.get("FLASK_APP")).load_app()
    except (Exception, SystemExit) as error:
        if not needed:
            return None
        raise Stop(
            f"env.py asks for a Flask application, and none can be loaded: {one_line(error)}",
            "name it, as for flask run: FLASK_APP=package.module:app, with what it needs installed and set",
            WRONG_SETTING,
        ) from error
