"""With git itself: only the steps that a branch adds are looked at, and two branches that both add one conflict.

No stack: what it needs is git, which no container of the tests has.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tangga.exits import FINDINGS, WRONG_SETTING
from tests.databases import PROJECT
from tests.support.in_process import run
from tests.support.library import L3, NOWHERE, copy_library, plant
from tests.support.linting import with_findings
from tests.support.steps import edit

_GIT = ("git", "-c", "user.name=Test", "-c", "user.email=test@example.com", "-c", "init.defaultBranch=main")
_UNSAFE = ("op.drop_column('books', 'title')", "op.execute('SELECT 1')")
MINE, MINE_TOO, THEIRS = "0000000000a1", "0000000000a2", "0000000000b1"


def git(folder: Path, *arguments: str) -> str:
    return subprocess.run([*_GIT, *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout


def commit(folder: Path, message: str) -> None:
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", message)


def unsafe(library: Path, revision: str, **where: str) -> Path:
    return plant(library, revision, _UNSAFE[0], downgrade=_UNSAFE[1], **where)


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """The library in a folder of a repository, whose released files have findings; on a branch."""
    library = with_findings(copy_library(tmp_path / "top/back end"))
    edit(library / "alembic.ini", "revision_environment = true\n", "")  # a new step needs no database then
    git(tmp_path / "top", "init", "--quiet")
    commit(library, "released")
    git(library, "checkout", "--quiet", "-b", "mine")
    return library


def _since(library: Path, ref: str = "main", *options: str) -> set[tuple[str, str]]:
    finished = run(("lint", "--json", "--since", ref, *options), library, {})
    return {(one["revision"], one["rule"]) for one in json.loads(finished.stdout)}


def _refused(folder: Path, ref: str) -> str:
    finished = run(("lint", f"--since={ref}"), folder, {})
    assert (finished.returncode, finished.stdout) == (WRONG_SETTING, ""), finished
    assert finished.stderr.count("\n") == 2
    return finished.stderr


def test_only_what_the_branch_adds_is_looked_at_committed_or_not(library: Path) -> None:
    assert len(json.loads(run(("lint", "--json"), library, {}).stdout)) == 5
    assert _since(library) == set()
    unsafe(library, MINE)
    assert _since(library) == {(MINE, "ban-drop-column")}
    commit(library, "mine")
    unsafe(library, MINE_TOO, after=MINE)
    assert {revision for revision, _ in _since(library)} == {MINE, MINE_TOO}
    assert {revision for revision, _ in _since(library, "mine")} == {MINE_TOO}
    assert "2 revisions: 2 findings" in run(("lint", "--since", "main"), library, {}).stdout


def test_what_came_to_main_meanwhile_is_not_the_branchs(library: Path) -> None:
    unsafe(library, MINE)
    commit(library, "mine")
    git(library, "checkout", "--quiet", "main")
    unsafe(library, THEIRS)
    commit(library, "theirs")
    git(library, "checkout", "--quiet", "mine")
    assert {revision for revision, _ in _since(library)} == {MINE}
    git(library, "merge", "--quiet", "--message", "merged", "main")
    assert {revision for revision, _ in _since(library)} == {MINE}


def test_a_released_step_that_was_renamed_or_edited_is_not_added(library: Path) -> None:
    [file] = (library / "migrations/versions").glob(f"{L3}_*.py")
    renamed = file.rename(file.with_name("renamed.py"))
    edit(renamed, "l3 loans", "l3 loans, in other words")
    commit(library, "renamed")
    assert _since(library) == set()


def test_a_hook_of_gits_in_a_work_tree_of_its_own_is_served(library: Path, tmp_path: Path) -> None:
    """git tells a hook where the repository is, and takes the folder that it is called in for its top then."""
    git(library, "worktree", "add", "--quiet", "-b", "theirs", str(tmp_path / "beside"), "main")
    folder = tmp_path / "beside/back end"
    unsafe(folder, MINE)
    hook = tmp_path / "top/.git/hooks/pre-commit"
    code = "import sys; from tests.support.in_process import run; from pathlib import Path; "
    code += "print(run(('lint', '--since', 'main'), Path.cwd(), {}).stdout)"
    paths = f"{PROJECT}:{PROJECT}/services/migrate"
    hook.write_text(f"#!/bin/sh\ncd 'back end' && PYTHONPATH={paths} exec {sys.executable} -c \"{code}\"\n")
    hook.chmod(0o755)
    git(folder, "add", "--all")
    said = subprocess.run([*_GIT, "commit", "-m", "mine"], cwd=folder, check=True, capture_output=True, text=True)
    assert "1 revision: 1 finding" in said.stdout + said.stderr


def test_a_choice_of_steps_holds_besides(library: Path) -> None:
    unsafe(library, MINE)
    unsafe(library, MINE_TOO, after=MINE)
    assert {revision for revision, _ in _since(library, "main", MINE_TOO)} == {MINE_TOO}


@pytest.mark.parametrize("ref", ["origin/nowhere", "--output=x", ""])
def test_what_git_does_not_know_is_said_in_one_line(library: Path, ref: str) -> None:
    said = _refused(library, ref)
    assert f"error: git knows no {ref}\n" in said
    assert "fetch it first" in said


def test_a_history_that_was_not_fetched_is_said_in_one_line(library: Path, tmp_path: Path) -> None:
    unsafe(library, MINE)
    commit(library, "mine")
    git(tmp_path, "clone", "--quiet", "--depth", "1", "--no-single-branch", f"file://{tmp_path}/top", "shallow")
    folder = tmp_path / "shallow/back end"
    git(folder, "checkout", "--quiet", "mine")
    assert "nothing that origin/main and this branch have in common\n   do: fetch the whole" in _refused(
        folder, "origin/main"
    )


def test_a_folder_without_a_repository_is_said_in_one_line(library: Path, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "top/.git")
    assert "not a git repository" in _refused(library, "main")


# Two branches that both add a step -----------------------------------------------------------------------------------


def _both_add_a_step(library: Path) -> subprocess.CompletedProcess[str]:
    """Let two branches each add a step as an author does, and merge one into the other."""
    for branch, revision in (("mine", MINE), ("theirs", THEIRS)):
        git(library, "checkout", "--quiet", "-B", branch, "main")
        assert run(("revision", "-m", branch, "--rev-id", revision), library, NOWHERE).returncode == 0
        commit(library, branch)
    return subprocess.run([*_GIT, "merge", "--no-edit", "mine"], cwd=library, capture_output=True, text=True)


def _heads(library: Path) -> list[str]:
    return sorted(line.split()[0] for line in run(("heads",), library, NOWHERE).stdout.splitlines())


def test_without_the_file_two_branches_that_both_add_a_step_merge_green(library: Path) -> None:
    assert _both_add_a_step(library).returncode == 0
    assert git(library, "status", "--porcelain") == ""
    # The harm: nobody can go up.
    assert _heads(library) == [MINE, THEIRS]
    assert "several heads" in run(("upgrade", "head", "--sql"), library, NOWHERE).stderr


def test_with_the_file_they_are_a_conflict(library: Path) -> None:
    git(library, "checkout", "--quiet", "main")
    assert run(("lint", "--write-head"), library, {}).returncode == FINDINGS  # those of the released files
    commit(library, "HEAD")
    merged = _both_add_a_step(library)
    assert merged.returncode == 1
    assert "CONFLICT (content): Merge conflict in back end/migrations/HEAD" in merged.stdout
    assert git(library, "diff", "--name-only", "--diff-filter=U").strip().strip('"') == "back end/migrations/HEAD"
    assert "it holds a conflict of git's" in run(("lint",), library, {}).stdout
    # What ends it writes the file.
    assert run(("merge", "heads", "-m", "both", "--rev-id", "0000000000c1"), library, NOWHERE).returncode == 0
    assert (library / "migrations/HEAD").read_text() == "0000000000c1\n"
    commit(library, "both")
    assert _heads(library) == ["0000000000c1"]
