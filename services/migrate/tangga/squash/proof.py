"""The baseline is equal to the steps that it folds: shown on scratch databases, or it is not written."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alembic.config import Config
from alembic.script import Script
from sqlalchemy import Engine

from tangga import lint
from tangga.catalogue import dump as schema
from tangga.causes import one_line
from tangga.exits import ALEMBIC_REFUSES, Stop
from tangga.project import Project
from tangga.scratch.again import differences
from tangga.scratch.server import Scratch
from tangga.squash import source
from tangga.squash.statements import dropping, filling, granting, making


def prove(project: Project, scratch: Scratch, folded: list[Script], name: str) -> str:
    """Return the baseline's source, proven to do what the folded steps do; raises Stop with the first difference."""
    to = folded[-1].revision
    with scratch.database() as old:
        pristine = scratch.dump(old)
        with old.connect() as connection:
            project.upgrade(connection, to)
        dump, rows = scratch.dump(old), filling(scratch, old)
        statements = [*making(dump, pristine, old.url.username or ""), *rows]
        statements += granting(scratch, statements, schema.objects(dump))
        with _copy(project, folded) as (folder, copy):
            drops = [*dropping(dump, pristine)]
            file = folder / name
            file.write_text(source.content(folded, statements, drops, []))
            baseline = _of(project, folder, copy)
            rules = sorted({finding.rule for finding in lint.findings(baseline, {to}) if finding.exception is None})
            content = source.content(folded, statements, drops, rules)
            file.write_text(content)
            _compare(project, _of(project, folder, copy), scratch, old, to, rows)
    return content


def _compare(project: Project, baseline: Project, scratch: Scratch, old: Engine, to: str, rows: list[str]) -> None:
    with scratch.database() as new, old.connect() as connection, new.connect() as other:
        pristine = schema.objects(scratch.dump(new))
        try:
            baseline.upgrade(other, to)
            _require_equal("at the baseline", scratch, old, new)
            if filling(scratch, new) != rows:
                _differs("at the baseline", "rows")
            project.upgrade(connection, "heads")
            baseline.upgrade(other, "heads")
            _require_equal("at head", scratch, old, new)
            # The steps above may be irreversible; the baseline itself must not leave anything behind.
            with scratch.database() as third, third.connect() as down:
                baseline.upgrade(down, to)
                baseline.downgrade(down, "base")
                if lines := schema.differences(pristine, schema.objects(scratch.dump(third))):
                    _differs("after going down", lines[0])
        except Stop:
            raise
        except Exception as error:
            _differs("on a scratch database", one_line(error))


def _require_equal(when: str, scratch: Scratch, old: Engine, new: Engine) -> None:
    steps, baseline = (schema.objects(scratch.dump(each)) for each in (old, new))
    steps_again, baseline_again = (lambda each=each: schema.objects(scratch.loaded(each)) for each in (old, new))
    if lines := differences(steps, baseline, steps_again, baseline_again):
        _differs(when, lines[0])


def _differs(when: str, what: str) -> None:
    raise Stop(
        f"the baseline is not equal to the steps {when}: {what}",
        "nothing was written; squash up to a step before the one that makes this",
        ALEMBIC_REFUSES,
    )


@contextmanager
def _copy(project: Project, folded: list[Script]) -> Iterator[tuple[Path, Path]]:
    """Copy the project's migrations without the folded steps; yield the folder of the steps and that of env.py."""
    with tempfile.TemporaryDirectory() as folder:
        migrations, versions = Path(project.scripts.dir), Path(project.scripts.versions)
        copy = Path(folder) / migrations.name
        shutil.copytree(migrations, copy, ignore=shutil.ignore_patterns("__pycache__"))
        steps = copy / versions.name
        if not versions.is_relative_to(migrations):
            shutil.copytree(versions, steps, ignore=shutil.ignore_patterns("__pycache__"))
        for step in folded:
            (steps / Path(step.path).name).unlink()
        yield steps, copy


def _of(project: Project, versions: Path, migrations: Path) -> Project:
    """Return the project with other migrations; all else is configured where it was, and found from there."""
    own = project.config
    config = Config(own.config_file_name, toml_file=own.toml_file_name, ini_section=own.config_ini_section)
    config.set_main_option("script_location", str(migrations).replace("%", "%%"))
    config.set_main_option("version_locations", str(versions).replace("%", "%%"))
    config.cmd_opts = own.cmd_opts
    return Project(config)
