"""What the doctor sees without a server; env.py is read, not run."""

from pathlib import Path

import pytest

from tangga.doctor import here, view
from tangga.doctor.model import Sign, missing
from tangga.project import Project

STEP = "revision, down_revision = {!r}, {!r}\n\n\ndef upgrade():\n    pass\n\n\ndef downgrade():\n    pass\n"
ENV = "raise SystemExit('env.py was run')\n"


def _project(folder: Path, env: str = ENV, ini: str = "", **steps: object) -> Project:
    (folder / "m/versions").mkdir(parents=True)
    (folder / "alembic.ini").write_text(f"[alembic]\nscript_location = %(here)s/m\npath_separator = os\n{ini}")
    (folder / "m/env.py").write_text(env)
    for name, below in steps.items():
        (folder / f"m/versions/{name}.py").write_text(STEP.format(name, below))
    return Project.from_file(folder / "alembic.ini")


def _what(signs: list[Sign]) -> dict[str, tuple[str, str]]:
    return {sign.subject: (sign.state, sign.what) for sign in signs}


def test_the_configuration_names_the_other_environments(tmp_path: Path) -> None:
    project = _project(tmp_path, ini="[other]\nscript_location = o\n[loggers]\nkeys = root\n")
    sign = here.configuration(project)
    assert (sign.state, sign.what) == ("good", "alembic.ini, section alembic, steps in m; others: -n other")


def test_a_configuration_that_is_nowhere_or_names_no_folder_is_bad(tmp_path: Path) -> None:
    assert here.configuration(Project.from_file(tmp_path / "alembic.ini")).state == "bad"
    (tmp_path / "alembic.ini").write_text("[alembic]\n")
    assert (
        here.configuration(Project.from_file(tmp_path / "alembic.ini")).what == "alembic.ini names no script_location"
    )
    (tmp_path / "alembic.ini").write_text("[alembic]\nscript_location = nowhere\n")
    assert here.configuration(Project.from_file(tmp_path / "alembic.ini")).state == "bad"


@pytest.mark.parametrize(
    ("env", "state", "words", "remedy"),
    [
        ("from tangga import guarded", "good", "guarded", ""),
        ("connection.run_sync(x)", "note", "asynchronous, without tangga.guarded", ""),
        ("create_engine(u, creator=f)", "note", "creator=, without", "plan and verify refuse such a connection"),
        ("context.configure(upgrade_token=t)", "note", "several databases", "name it with -n"),
        ("from sqlmodel import SQLModel\nSQLModel.metadata", "note", "SQLModel", ""),
        ("def f(:", "bad", "invalid syntax", "mend env.py"),
    ],
)
def test_env_py_is_read(tmp_path: Path, env: str, state: str, words: str, remedy: str) -> None:
    [sign] = here.env_py(_project(tmp_path, env))
    assert sign.state == state
    assert words in sign.what
    assert remedy in sign.remedy


def test_the_files_and_their_heads_are_counted(tmp_path: Path) -> None:
    signs = here.files(_project(tmp_path, a1=None, b1="a1", b2="a1", c1=("b1", "b2"), d1="c1", d2="c1"))
    assert _what(signs) == {"files": ("good", "6 steps, 1 base, 1 merge"), "heads": ("note", "2: d1, d2")}


def test_a_file_that_cannot_be_loaded_is_named(tmp_path: Path) -> None:
    project = _project(tmp_path, a1=None)
    (tmp_path / "m/versions/a1.py").write_text("import no_such_module\n")
    [sign] = here.files(project)
    assert sign.state == "bad"
    assert "a1.py" in sign.what


def test_models_are_imported_where_it_is_said_where_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "doctors_models.py").write_text(
        "import sqlalchemy as sa\nm = sa.MetaData()\nsa.Table('a', m, schema='b')\nsa.Table('c', m)\n"
    )
    project = _project(tmp_path)
    assert here.models(project)[0].state == "note"
    project.table["metadata"] = "doctors_models:m"
    assert _what(here.models(project)) == {"models": ("good", "2 tables in b")}
    project = Project.from_file(tmp_path / "alembic.ini")
    project.table["metadata"] = "no_such_module:m"
    assert here.models(project)[0].state == "bad"


def test_without_a_driver_of_ours_nothing_connects(monkeypatch: pytest.MonkeyPatch) -> None:
    assert here.driver().state == "good"
    monkeypatch.setattr(here, "find_spec", lambda _: None)
    assert (here.driver().state, here.driver().what) == ("bad", "neither psycopg2 nor psycopg")
    assert here.linters().state == "bad"


def test_a_folder_of_no_repository_is_no_fault(tmp_path: Path) -> None:
    assert here.git(_project(tmp_path)).state == "note"


def test_the_page_says_which_commands_work_and_why_others_do_not() -> None:
    signs = [Sign("files", "good", "1 step"), Sign("scratch server", "bad", "no docker", "name one")]
    shown = view.page(signs)
    assert "✓  files           1 step\n✗  scratch server  no docker\n    do: name one\n" in shown
    assert "works here: lint, log, upgrade, downgrade\n" in shown
    assert "does not: verify (scratch server)\n" in shown
    assert missing(signs)["plan"] == ["scratch server"]
    assert '"verify": [\n      "scratch server"\n    ]' in view.document(signs)
