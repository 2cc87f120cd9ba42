"""Functions of scripts/, called one by one."""

import subprocess

from tests.unit.scripts.operations import REPOSITORY


def call(files: str, function: str, *arguments: str, stdin: str = "", status: int = 0) -> str:
    """Source these files of scripts/, call the function, and return what it prints."""
    sourced = "".join(f". scripts/{file}; " for file in files.split())
    result = subprocess.run(
        ["bash", "-Eeuo", "pipefail", "-c", f'{sourced} "$@"', "bash", function, *arguments],
        cwd=REPOSITORY, input=stdin.encode(), capture_output=True, check=False,
    )  # fmt: skip
    assert result.returncode == status, result
    return result.stdout.decode()
