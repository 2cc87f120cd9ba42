"""The hook for pre-commit and the action for GitHub, in a repository of somebody else's; both are run for real.

pre-commit comes from the package index, and so does what the action installs. GitHub's runner is not here: the test does
what the runner does with action.yml, which is to fill in the inputs and to run the step by bash.
"""

import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from tangga.exits import FINDINGS
from tests.databases import PATIENCE
from tests.stack.conftest import REPOSITORY
from tests.stack.test_lint_in_git import MINE, commit, git, unsafe
from tests.support.library import copy_library
from tests.support.linting import with_findings

UV = REPOSITORY / ".venv/bin/uv"
ACTION = REPOSITORY / ".github/actions/lint"
_INPUT = re.compile(r"\$\{\{ inputs\.([a-z-]+) \}\}")


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment of the project's own, with pre-commit, and without tangga."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([UV, "venv", "--quiet", "--seed", "--no-project", folder, "--allow-existing"], check=True)
    install: list[str | Path] = [UV, "pip", "install", "--quiet", "--python", folder / "bin/python", "pre-commit"]
    subprocess.run(install, check=True)
    return folder / "bin"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A repository whose released steps have findings; on a branch that adds none yet."""
    project = with_findings(copy_library(tmp_path / "project"))
    git(project, "init", "--quiet")
    commit(project, "released")
    git(project, "checkout", "--quiet", "-b", "mine")
    return project


def _environment(programs: Path, home: Path, **more: str) -> dict[str, str]:
    who = {f"GIT_{role}_{what}": "test" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    passed = {name: os.environ[name] for name in os.environ if name.startswith(("PIP_", "UV_", "SSL_", "REQUESTS_"))}
    return {"PATH": f"{programs}:/usr/bin:/bin", "HOME": str(home), **who, **passed, **more}


def _run(command: list[str], folder: Path, environment: dict[str, str], code: int) -> subprocess.CompletedProcess[str]:
    finished = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=2 * PATIENCE, check=False
    )
    assert finished.returncode == code, finished.stdout + finished.stderr
    return finished


def _action(programs: Path, project: Path, code: int, base: str = "", **inputs: str) -> list[str]:
    """Run the action's steps as a runner does, for a pull request to `base` if it is one; return the lines of stdout."""
    action = yaml.safe_load((ACTION / "action.yml").read_text())
    assert action["runs"]["using"] == "composite"
    assert inputs.keys() <= action["inputs"].keys()
    values = {name: each["default"] for name, each in action["inputs"].items()} | inputs
    out = []
    for step in action["runs"]["steps"]:
        assert "${{" not in step["run"], "an input would be run as shell"
        filled = {name: _INPUT.sub(lambda found: values[found[1]], text) for name, text in step["env"].items()}
        environment = _environment(
            programs, project.parent, GITHUB_ACTION_PATH=str(ACTION), GITHUB_BASE_REF=base, **filled
        )
        assert step["shell"] == "bash"
        folder = project / _INPUT.sub(lambda found: values[found[1]], step["working-directory"])
        out += _run(["bash", "-eo", "pipefail", "-c", step["run"]], folder, environment, code).stdout.splitlines()
    return out


def _annotations(lines: list[str]) -> list[str]:
    return [line for line in lines if line.startswith("::error ")]


def test_the_action_says_what_a_pull_request_adds_at_its_line(programs: Path, project: Path) -> None:
    python = str(programs / "python")
    git(project, "update-ref", "refs/remotes/origin/main", "main")
    assert _annotations(_action(programs, project, 0, base="main", python=python)) == []
    unsafe(project, MINE)
    said = _action(programs, project, FINDINGS, base="main", python=python)
    [command] = _annotations(said)
    assert command.startswith(
        f"::error file=migrations/versions/planted_{MINE}.py,line=10,title=ban-drop-column (up)::Dropping a column"
    )
    assert "1 revision: 1 finding, 0 exceptions with a reason" in said
    assert len(_annotations(_action(programs, project, FINDINGS, python=python, since="main"))) == 1


def test_the_action_looks_at_all_steps_where_it_is_no_pull_request(programs: Path, project: Path) -> None:
    python = str(programs / "python")
    assert len(_annotations(_action(programs, project, FINDINGS, python=python))) == 5
    assert len(_annotations(_action(programs, project, FINDINGS, base="main", python=python, since="all"))) == 5
    _run([str(programs / "tangga"), "lint", "--baseline", "b.txt", "--write-baseline"], project, os.environ.copy(), 0)
    assert _annotations(_action(programs, project, 0, python=python, arguments="--baseline b.txt")) == []


def test_pre_commit_refuses_a_commit_with_an_unsafe_step(programs: Path, project: Path, tmp_path: Path) -> None:
    # What the hook calls is the tangga of the project's own environment.
    _action(programs, project, FINDINGS, since="all", python=str(programs / "python"))
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    (hooks / ".pre-commit-hooks.yaml").write_bytes((REPOSITORY / ".pre-commit-hooks.yaml").read_bytes())
    git(hooks, "init", "--quiet")
    commit(hooks, "released")
    used = {"id": "tangga-lint", "args": ["--since", "main"]}
    config = {"repos": [{"repo": str(hooks), "rev": git(hooks, "rev-parse", "HEAD").strip(), "hooks": [used]}]}
    (project / ".pre-commit-config.yaml").write_text(yaml.safe_dump(config))
    environment = _environment(programs, tmp_path)
    _run(["pre-commit", "validate-manifest", str(hooks / ".pre-commit-hooks.yaml")], project, environment, 0)
    _run(["pre-commit", "install"], project, environment, 0)
    git_commit = ["git", "commit", "--quiet", "--all", "--message"]
    _run(["git", "add", "."], project, environment, 0)
    assert "(no files to check)Skipped" in _run([*git_commit, "the hook"], project, environment, 0).stderr
    file = unsafe(project, MINE)
    _run(["git", "add", "."], project, environment, 0)
    refused = _run([*git_commit, "mine"], project, environment, 1).stderr
    assert "ban-drop-column (up)" in refused
    assert "1 revision: 1 finding" in refused
    file.write_text(file.read_text().replace("def upgrade", 'lint_ignore = {"ban-drop-column": "why"}\ndef upgrade', 1))
    assert "Passed" in _run([*git_commit, "mine"], project, environment, 0).stderr
