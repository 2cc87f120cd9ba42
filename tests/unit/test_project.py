"""The one door: what `[tool.tangga]` says, and what the environment says where it says nothing."""

from argparse import Namespace
from pathlib import Path

import pytest

from tangga import settings
from tangga.exits import WRONG_SETTING, Stop
from tangga.project import Project
from tests.support.library import FOLDER, HEAD, L1, L2, L3, NOWHERE


def _project(folder: Path, table: str = "") -> Project:
    (folder / "alembic.ini").write_text(
        "[alembic]\nscript_location = %(here)s/migrations\nprepend_sys_path = %(here)s\n"
    )
    (folder / "migrations/versions").mkdir(parents=True, exist_ok=True)
    (folder / "pyproject.toml").write_text(table)
    return Project.from_file(folder / "alembic.ini")


def test_a_project_without_a_table_has_no_models_and_no_commands(tmp_path: Path) -> None:
    project = _project(tmp_path)
    assert (project.metadata, project.commands, project.table) == ([], {}, {})
    (tmp_path / "pyproject.toml").unlink()
    assert Project.from_file(tmp_path / "alembic.ini").table == {}


@pytest.mark.parametrize("value", ['"own_models:a"', '["own_models:a", "own_models:b.inner"]'])
def test_the_models_may_be_one_or_several(tmp_path: Path, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_models.py").write_text("a = 1\nclass b:\n    inner = 2\n")
    monkeypatch.syspath_prepend(tmp_path)
    project = _project(tmp_path, f"[tool.tangga]\nmetadata = {value}\n")
    found: list[object] = [*project.metadata]
    assert found == ([1, 2] if "[" in value else [1])


@pytest.mark.parametrize("name", ["no_such_module:x", "tangga:no_such_name", "nonsense"])
def test_what_cannot_be_loaded_is_named_with_its_key(tmp_path: Path, name: str) -> None:
    project = _project(tmp_path, f"[tool.tangga]\nmetadata = {name!r}\nsettings = {name!r}\n")
    for key in ("metadata", "settings"):
        with pytest.raises(Stop) as stopped:
            getattr(project, key)
        assert f"[tool.tangga] {key} = '{name}' cannot be loaded: " in stopped.value.what
        assert stopped.value.code == WRONG_SETTING


def test_a_file_that_is_no_toml_is_named(tmp_path: Path) -> None:
    with pytest.raises(Stop) as stopped:
        _project(tmp_path, "[tool.tangga")
    assert f"{tmp_path}/pyproject.toml cannot be read: " in stopped.value.what


def test_steps_and_what_is_pending_are_told_in_order() -> None:
    project = Project.from_file(FOLDER / "alembic.ini")
    assert [script.revision for script in project.revisions()] == [L1, L2, L3, HEAD]
    assert [script.revision for script in project.pending([L2])] == [L3, HEAD]
    assert [script.revision for script in project.pending([], to=L2)] == [L1, L2]
    assert project.file_of(project.revisions()[0]) == f"migrations/versions/{L1}_authors.py"


# The environment ------------------------------------------------------------------------------------------------------


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("LOCK_WAIT", "LOCK_TIMEOUT", "LOCK_RETRY_FOR", "STATEMENT_TIMEOUT", "SAVE_DIR", "VERSION"):
        monkeypatch.delenv(f"MIGRATE_{name}", raising=False)
    for name in ("DATABASE_URL", "SCRATCH_URL"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def test_the_database_is_the_one_of_the_environment_or_else_alembics(bare: pytest.MonkeyPatch) -> None:
    assert settings.from_environment("postgresql+psycopg2://a@one/x").address == "one:5432"
    bare.setenv("DATABASE_URL", NOWHERE["DATABASE_URL"])
    found = settings.from_environment("postgresql+psycopg2://a@one/x")
    assert (found.address, found.database) == ("localhost:1", "nowhere")
    # A driver that is there, whichever SQLAlchemy would take of itself.
    assert found.url.get_dialect().driver == "psycopg2"


@pytest.mark.usefixtures("bare")
def test_a_driver_that_is_named_is_taken() -> None:
    assert settings.from_environment("postgresql+psycopg://a@one/x").url.drivername == "postgresql+psycopg"


@pytest.mark.usefixtures("bare")
def test_no_database_is_said() -> None:
    with pytest.raises(Stop) as stopped:
        settings.from_environment(None)
    assert stopped.value.code == WRONG_SETTING
    with pytest.raises(Stop, match="no throwaway server is named"):
        settings.scratch_from_environment()


def test_what_is_given_goes_before_all_else(bare: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "own_host.py").write_text(
        "from sqlalchemy import make_url\nfrom tangga.settings import ScratchSettings, Settings\n"
        "def database():\n    return Settings(make_url('postgresql://own@own/x'), lock_wait=7)\n"
        "def scratch():\n    return ScratchSettings(make_url('postgresql://own@scratch/x'), 'PGUSER={owner}')\n"
    )
    bare.syspath_prepend(tmp_path)
    bare.setenv("DATABASE_URL", NOWHERE["DATABASE_URL"])
    bare.setenv("SCRATCH_URL", "postgresql://a@elsewhere/x")
    given = Namespace(database_url="postgresql://a@one/x", scratch_url="postgresql://a@two")
    own = '[tool.tangga]\nsettings = "own_host:database"\nscratch = "own_host:scratch"\n'

    def found(table: str, options: Namespace | None) -> tuple[str | None, str | None, str]:
        project = _project(tmp_path, table)
        project.config.cmd_opts = options
        return project.settings.url.host, project.scratch.url.host, project.scratch.credentials

    assert found("", None) == ("localhost", "elsewhere", "")
    assert found("", given) == ("one", "two", "")
    assert found(own, None) == ("own", "scratch", "PGUSER={owner}")
    assert found(own, given) == ("one", "two", "")
    # That server does not know the users of another database.
    assert found(own, Namespace(database_url="postgresql://a@one/x")) == ("one", "scratch", "")
    assert _project(tmp_path, own).settings.lock_wait == 7


@pytest.mark.parametrize("value", ["mysql://a:secret@b/c", "a:secret@b", "docker", "postgresql://a:secret@b:port/c"])
def test_what_is_no_url_is_refused_without_being_repeated(value: str) -> None:
    with pytest.raises(Stop, match=r"^that is no URL of a PostgreSQL database$") as stopped:
        settings.address_of(value)
    assert "secret" not in stopped.value.remedy


def test_the_bounds_are_those_of_the_environment(bare: pytest.MonkeyPatch) -> None:
    bare.setenv("MIGRATE_LOCK_TIMEOUT", "0.5")
    bare.setenv("MIGRATE_STATEMENT_TIMEOUT", "0")
    bare.setenv("MIGRATE_VERSION", "1.4")
    found = settings.from_environment(NOWHERE["DATABASE_URL"])
    assert (found.lock_timeout, found.statement_timeout, found.version) == (0.5, 0, "1.4")
    assert (found.lock_wait, found.lock_retry_for, found.save_dir) == (300, 300, Path("saved"))


@pytest.mark.parametrize("value", ["soon", "-1", "1s", "", "inf"])
def test_a_bound_that_is_no_number_of_seconds_is_named(bare: pytest.MonkeyPatch, value: str) -> None:
    bare.setenv("MIGRATE_LOCK_WAIT", value)
    with pytest.raises(Stop, match=r"^MIGRATE_LOCK_WAIT: is no number of seconds$"):
        settings.from_environment(NOWHERE["DATABASE_URL"])


@pytest.mark.parametrize(("value", "wanted"), [("true", True), ("1", True), ("ON", True), ("no", False), ("", False)])
def test_the_traceback_is_asked_for_in_words(bare: pytest.MonkeyPatch, value: str, wanted: bool) -> None:
    bare.setenv("MIGRATE_TRACEBACK", value)
    assert settings.traceback_wanted() is wanted


def test_bounds_go_to_the_server_in_milliseconds() -> None:
    assert settings.bounds({"lock_timeout": 0.5, "statement_timeout": 900}) == {
        "lock_timeout": "500ms", "statement_timeout": "900000ms"
    }  # fmt: skip
