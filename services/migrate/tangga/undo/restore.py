"""Put back what steps down had saved, once their upgrade has run again."""

import argparse

from tangga import connect
from tangga.exits import STEP_FAILED, Stop
from tangga.guard import log
from tangga.guard.lock import migration_lock
from tangga.guard.steps import timeouts
from tangga.project import Project
from tangga.undo.putting_back import put_back
from tangga.undo.saves import KINDS, Damaged, saves
from tangga.undo.shelf import Shelf
from tangga.undo.staging import Outcome
from tangga.words import aligned, print_lines

HELP = "put back what steps down had saved"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "save", nargs="?", default="newest", help="a folder's name, or newest: all that can be put back (default)"
    )
    parser.add_argument("--list", action="store_true", help="say what is there, and put nothing back")


def run(project: Project) -> None:
    """Put back one save, or all that belong to revisions that are applied now; or list what is there."""
    options = project.config.cmd_opts
    assert options is not None
    log.to_stderr()
    settings = project.settings
    engine = connect.engine(settings.url, "restore", session=timeouts(settings))
    try:
        kept = saves(settings.save_dir)
        with (
            migration_lock(engine, settings, wanted=not options.list),
            engine.begin() as connection,
        ):
            shelf = Shelf(kept, connection, project.scripts)
            if options.list:
                print_lines(*shelf.listed() or [f"{settings.save_dir} holds no save"])
                return
            chosen = shelf.newest() if options.save == "newest" else [shelf.named(options.save)]
            if not chosen:
                print_lines(*shelf.why_nothing(settings.save_dir))
                return
            for each in chosen:
                each.verify()
            outcomes = put_back(connection, chosen)
    except Damaged as error:
        raise Stop(str(error), "bring back a good copy of that folder, if there is one", STEP_FAILED) from error
    for each in chosen:
        each.note_restored()
    print_lines(*_table(outcomes))


def _table(outcomes: list[Outcome]) -> list[str]:
    rows = [("what", "kind", "saved", "put back", "")]
    rows += [
        (str(each.item), KINDS[each.item.kind], f"{each.item.rows:,}", f"{each.restored:,}", "; ".join(each.notes))
        for each in outcomes
    ]
    return aligned(rows, right=(2, 3))
