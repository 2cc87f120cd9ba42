"""`alembic revision`: what it writes, and when it writes nothing."""

import ast
import re
import subprocess
from pathlib import Path

import pytest

from tests.databases import alembic_process, migrate, query, scratch_database
from tests.migrations.staircase import HEAD, TANGGA, V1, V5, edit, plant, revision
from tests.support.in_process import alembic

HOSTILE = [
    "v7 tambah kolom kota",
    'it\'s "quoted"',
    '"starts with a quote',
    'ends with a quote"',
    'ends with two ""',
    'three """ quotes',
    '"""',
    "back\\slash \\n \\",
    "ends with a backslash \\",
    'backslash and quotes \\"""',
    "`touch /tmp/planted` $(touch /tmp/planted) $HOME ${message}",
    "100% of %s and %(rev)s %%",
    "<% raise %> ## mako ${1/0}",
    "../../escape",
    "é 🏠 表",
    "x" * 300,
]


def _new_files(project: Path) -> list[Path]:
    names = {path.name for path in (Path(__file__).parents[2] / "migrations/versions").iterdir()}
    return [path for path in (project / "migrations/versions").glob("*.py") if path.name not in names]


@pytest.mark.parametrize("message", HOSTILE)
def test_a_message_comes_through_unchanged(at_head: str, project: Path, message: str) -> None:
    migrate(at_head, "revision", "-m", message, project=project)
    [file] = _new_files(project)
    assert re.fullmatch(r"\d{8}_\d{4}_[0-9a-f]{12}_\w*\.py", file.name)
    docstring = ast.get_docstring(ast.parse(file.read_text()), clean=False)
    assert docstring is not None
    assert docstring.partition("\n")[0] == message
    assert f"\n\nRevises: {HEAD}\n" in docstring
    assert not Path("/tmp/planted").exists()
    # The rules stand where the next author types, and the file is in shape.
    assert "Rules for this file" in docstring
    assert subprocess.run(["ruff", "format", "--check", str(file)], cwd=project, check=False).returncode == 0


def test_a_new_step_runs_up_and_down_as_it_is(at_head: str, project: Path) -> None:
    migrate(at_head, "revision", "-m", "v7", project=project)
    [file] = _new_files(project)
    with scratch_database(at_head) as database:
        migrate(database, "upgrade", "head", project=project)
        assert f"_{revision(database)}_" in file.name
        migrate(database, "downgrade", "-1", project=project)
        assert revision(database) == HEAD


def test_autogenerate_without_a_difference_writes_no_file_and_says_so(at_head: str, project: Path) -> None:
    finished = alembic(at_head, "revision", "--autogenerate", "-m", "nothing", project=project)
    assert finished.returncode == 0, finished.stderr
    assert re.search(r"models and database agree.*: no file was written\.$", finished.stdout.strip(), re.IGNORECASE)
    assert _new_files(project) == []


@pytest.mark.parametrize(
    ("hostname", "why"),
    [("", "there is no scratch server here: "), ("127.0.0.1", "the scratch server at 127.0.0.1:1 lets nobody in: ")],
    ids=["none", "not there"],
)
def test_without_a_scratch_server_nothing_is_said_to_agree(
    at_head: str, project: Path, hostname: str, why: str
) -> None:
    """What Alembic has not looked at is named, with the reason; `check` does not end well."""
    nowhere = {"SCRATCH_HOSTNAME": hostname, "SCRATCH_PORT": "1"}
    finished = alembic(at_head, "revision", "--autogenerate", "-m", "nothing", project=project, environment=nowhere)
    assert finished.returncode == 0, finished.stderr
    said, named, last = finished.stdout.splitlines()[-3:]
    assert said == "Alembic finds no difference between models and database."
    assert named.startswith("Not compared: the conditions of CHECKs, EXCLUDE, labels of enums, ")
    assert why in named
    assert "Whether models and database agree is not known (make check compares the rest)" in last
    assert _new_files(project) == []
    finished = alembic(at_head, "check", project=project, environment=nowhere)
    assert finished.returncode == 2
    assert why in finished.stderr


def test_a_file_that_is_written_without_a_scratch_server_says_what_may_be_missing(at_head: str, project: Path) -> None:
    models = project / "services/api/db/models.py"
    edit(models, "    no_hp: Mapped[str | None]\n", "    no_hp: Mapped[str | None]\n    kota: Mapped[str | None]\n")
    nowhere = {"SCRATCH_HOSTNAME": ""}
    finished = alembic_process(
        at_head, "revision", "--autogenerate", "-m", "kota", project=project, environment=nowhere
    )
    assert finished.returncode == 0, finished.stderr
    assert "Not compared: the conditions of CHECKs, " in finished.stdout
    [file] = _new_files(project)
    assert "safe.add_column" in file.read_text()
    file.unlink()
    # `check` lists what Alembic has found.
    finished = alembic_process(at_head, "check", project=project)
    assert finished.returncode == 9
    assert "add_column" in finished.stderr


def test_autogenerate_and_check_see_a_new_check_alike(at_head: str, project: Path) -> None:
    edit(
        project / "services/api/db/models.py",
        "    __table_args__ = (",
        '    __table_args__ = (CheckConstraint("umur >= 0", name="umur_positive"), ',
    )
    edit(project / "services/api/db/models.py", "from sqlalchemy import ", "from sqlalchemy import CheckConstraint, ")
    line = "posts.ck_posts_umur_positive: in the models, not in the schema"
    drift = alembic_process(at_head, "drift", project=project)
    assert (drift.returncode, line in drift.stdout) == (9, True), drift.stderr
    finished = alembic_process(at_head, "revision", "--autogenerate", "-m", "v10 umur", project=project)
    assert finished.returncode == 0, finished.stderr
    [file] = _new_files(project)
    assert "ck_posts_umur_positive" in file.read_text()
    with scratch_database(at_head) as database:
        assert alembic_process(database, "upgrade", "head", project=project).returncode == 0
        assert alembic_process(database, "check", project=project).returncode == 0
        assert alembic_process(database, "drift", project=project).stdout.startswith("no drift: ")
        migrate(database, "downgrade", "-1", project=project)


def test_autogenerate_writes_what_the_models_changed(at_head: str, project: Path) -> None:
    edit(
        project / "services/api/db/models.py",
        "    no_hp: Mapped[str | None]\n",
        "    no_hp: Mapped[str | None]\n    kota: Mapped[str | None] = mapped_column(index=True, unique=True)\n",
    )
    finished = alembic_process(at_head, "revision", "--autogenerate", "-m", "v7 tambah kota", project=project)
    assert finished.returncode == 0, finished.stderr
    [file] = _new_files(project)
    text = file.read_text()
    assert 'safe.add_column("posts", sa.Column("kota", sa.String(), nullable=True))' in text
    # Named as the models would name it, whoever generates it.
    assert 'safe.create_index("ix_posts_kota", "posts", ["kota"], unique=True)' in text
    assert 'op.drop_column("posts", "kota")' in text
    with scratch_database(at_head) as database:
        migrate(database, "upgrade", "head", project=project)
        assert query(database, "SELECT indexname FROM pg_indexes WHERE indexname LIKE %s", "%kota") == [
            ("ix_posts_kota",)
        ]
        assert alembic_process(database, "check", project=project).returncode == 0
        migrate(database, "downgrade", "-1", project=project)


@pytest.mark.parametrize("options", [(), ("--autogenerate",)], ids=["by hand", "from the models"])
@pytest.mark.parametrize("at", [None, V1, V5])
def test_on_a_database_that_is_behind_nothing_is_written(
    database: str, project: Path, at: str | None, options: tuple[str, ...]
) -> None:
    if at:
        migrate(database, "upgrade", at)
    # The harm, shown on Alembic's own command line without our hook: a step is written that nobody has seen run.
    if at is None and not options:
        env = project / TANGGA / "environment.py"
        original = env.read_text()
        edit(env, '"process_revision_directives"', '"unused"')
        assert alembic_process(database, "revision", "-m", "v7", project=project).returncode == 0
        [file] = _new_files(project)
        file.unlink()
        env.write_text(original)
    finished = alembic_process(database, "revision", *options, "-m", "v7", project=project)
    assert finished.returncode == 8, finished.stderr
    assert "make migrate" in finished.stderr.splitlines()[-1]
    assert "Traceback" not in finished.stderr
    assert _new_files(project) == []
    if not options:
        at = at or "nothing yet (base)"
        assert f"the database is behind: it is at {at}, and the new step would stand on {HEAD}" in finished.stderr


def test_a_step_may_stand_on_any_step_that_has_run(at_head: str, project: Path) -> None:
    migrate(at_head, "revision", "-m", "beside v6", "--head", V5, "--splice", project=project)
    # It has not run, so the next one cannot stand on it; beside it there is room.
    [file] = _new_files(project)
    name = file.name.split("_")[2]
    finished = alembic(at_head, "revision", "-m", "above", "--head", name, project=project)
    assert (finished.returncode, _new_files(project)) == (8, [file])
    assert f"stand on {name}" in finished.stderr
    finished = alembic(at_head, "revision", "-m", "above the head", "--head", HEAD, project=project)
    assert (finished.returncode, len(_new_files(project))) == (0, 2)


def test_with_two_heads_or_an_unknown_revision_nothing_is_written(at_head: str, project: Path) -> None:
    planted = plant(project, "0000000000a1", "pass", after=V5)
    finished = alembic(at_head, "revision", "-m", "v7", project=project)
    assert (finished.returncode, _new_files(project)) == (7, [planted])
    planted.unlink()
    with scratch_database(at_head) as database:
        query(database, "UPDATE alembic_version SET version_num = 'ffffffffffff'")
        finished = alembic(database, "revision", "-m", "v7", project=project)
        assert (finished.returncode, _new_files(project)) == (6, [])


def test_without_a_database_nothing_is_written(project: Path) -> None:
    finished = alembic("unused", "revision", "-m", "v7", project=project, environment={"DB_PORT": "1"})
    assert (finished.returncode, _new_files(project)) == (5, [])
