"""The operations of scripts/ on a fake engine (tests/unit/scripts/fake_docker), each in a copy of what it needs."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

REPOSITORY = Path(__file__).parents[3]
DEVELOPMENT = {"API_PORT": "18349"}
PRODUCTION = {
    "COMPOSE_FILE": "compose.yaml:compose.prod.yaml",
    "TAG": "v1",
    "API_REPLICAS": "2",
    "HTTP_PORT": "18347",
    "HTTPS_PORT": "18348",
    "BACKUP_BEFORE_MIGRATE": "false",
}
SWARM = {
    "COMPOSE_FILE": "compose.yaml:deploy/external-db.yaml",
    "TAG": "v1",
    "DB_HOSTNAME": "db.example.org",
    "DB_SSLROOTCERT": "ca.pem",
}
SECRETS = {name: f"old-{name.lower()}" for name in ("DB_PASS", "DB_OWNER_PASS", "POSTGRES_PASSWORD", "TOKEN_KEY")}
ROLES = {"DB_PASS": "tangga_app", "DB_OWNER_PASS": "tangga_owner", "POSTGRES_PASSWORD": "postgres"}
PLANTED = "Error response from daemon: planted"


@dataclass(frozen=True)
class Operation:
    """A script with its arguments, and what is true of its failures."""

    command: tuple[str, ...]
    settings: Mapping[str, str] = field(default_factory=lambda: DEVELOPMENT)
    environment: Mapping[str, str] = field(default_factory=dict)
    # A part of the command -> why it may fail. The outcome must be what it is when nothing fails.
    tolerated: Mapping[str, str] = field(default_factory=dict)
    # Only the calls before this one: the others are another operation's.
    before: str = "(?!)"
    # What an error says of files that are not as before.
    stands: str = "(?!)"
    prepare: Callable[[Path], object] = bool


@dataclass(frozen=True)
class Outcome:
    code: int
    printed: str
    calls: list[tuple[int, str]]  # how many ✓ stood there, and the command
    files: dict[str, str]
    log: list[dict[str, str]]
    locked: bool

    @property
    def ticks(self) -> int:
        return self.printed.count("✓")


def _deployed_before(folder: Path) -> None:
    """There is a release before v1, and the database has a step that it does not know."""
    (folder / ".deploy").mkdir()
    line = {"action": "deploy", "from": "v0", "to": "v1", "revision": "0c1d2e3f", "outcome": "ok"}
    (folder / ".deploy/log.jsonl").write_text(json.dumps(line) + "\n")
    (folder / "fake/migrated").touch()


def _upgraded_before(folder: Path) -> None:
    with (folder / ".env").open("a") as file:
        file.write("POSTGRES_IMAGE=postgres:17\nDB_VOLUME=db-data-17\n")
        file.write("POSTGRES_IMAGE_PREVIOUS=postgres:15\nDB_VOLUME_PREVIOUS=db-data\n")


LOOKED_FOR = {
    "^info": "an engine is looked for, started if need be, and asked again",
    "^image inspect [pt]": "an image that cannot be asked for is pulled",
    r"^image inspect --format \{\{\.Id\}\} project-api": "an image that cannot be asked for is built",
}
ROLLING = {
    r"^inspect --format \{\{\.State": "asked again, until DEPLOY_TIMEOUT",
    r"exec --interactive proxy-1 socat": "asked again, until the proxy says so",
    r"^image (ls|rm)": "old images are forgotten after the next deploy; which one is kept is not said",
    r"alembic current$": "the release serves, whether or not its revision can be asked",
}
OPERATIONS = {
    "up": Operation(("scripts/up.sh",), tolerated=LOOKED_FOR),
    "up in production": Operation(("scripts/up.sh",), PRODUCTION, tolerated=LOOKED_FOR, before="^ps --all"),
    "deploy": Operation(
        ("scripts/deploy.sh",),
        PRODUCTION | {"BACKUP_BEFORE_MIGRATE": "true"},
        tolerated=ROLLING,
        stands=r"release \S+ serves, but not all replicas of the one before are removed",
    ),
    "undeploy": Operation(
        ("scripts/undeploy.sh", "--yes"),
        PRODUCTION,
        tolerated=ROLLING,
        stands="release v0 serves, but (not all replicas|the steps down failed)",
        prepare=_deployed_before,
    ),
    "rotate-secrets": Operation(
        ("scripts/rotate-secrets.sh",), stands=r"the secrets are (changed, but the API|not changed everywhere)"
    ),
    "rotate-secrets in production": Operation(
        ("scripts/rotate-secrets.sh",),
        PRODUCTION,
        stands=r"the secrets are (changed, but the API|not changed everywhere)",
    ),
    "rotate-secrets apply=1": Operation(("scripts/rotate-secrets.sh", "--apply")),
    "rotate-secrets finish=1": Operation(
        ("scripts/rotate-secrets.sh", "--finish"), stands="the old token key is in no file any more, but the API"
    ),
    "backup": Operation(("scripts/backup.sh",)),
    "backup before a migration": Operation(
        ("scripts/backup.sh", "--before-migrate"), DEVELOPMENT | {"BACKUP_BEFORE_MIGRATE": "true"}
    ),
    "backup-verify": Operation(
        ("scripts/backup.sh", "--verify", "newest"),
        tolerated={r"-verify --profile \* down": "at the end: the scratch server is the next one's as well"},
    ),
    "restore": Operation(("scripts/restore.sh", "newest"), environment={"yes": "1"}),
    "restore-undo": Operation(("scripts/restore.sh", "--undo")),
    "restore-confirm": Operation(("scripts/restore.sh", "--confirm")),
    "db-upgrade": Operation(
        ("scripts/db-upgrade.sh", "17"),
        tolerated={
            "^image inspect postgres": LOOKED_FOR["^image inspect [pt]"],
            r"^inspect --format \{\{\.State": "asked again, until it is healthy",
        },
    ),
    "db-upgrade back=1": Operation(
        ("scripts/db-upgrade.sh", "--back"),
        environment={"yes": "1"},
        prepare=_upgraded_before,
        tolerated={r"^image inspect --format \{\{range": "a version, for the log"},
    ),
    "db-upgrade confirm=1": Operation(("scripts/db-upgrade.sh", "--confirm"), prepare=_upgraded_before),
    "proxy-reload": Operation(
        ("scripts/proxy-reload.sh",),
        PRODUCTION,
        tolerated={"exec --interactive proxy-1 socat": "asked again, for five seconds"},
    ),
    "swarm-deploy": Operation(
        ("scripts/swarm-deploy.sh",),
        SWARM,
        tolerated={
            r"^(secret|config) inspect": "one that cannot be asked for is made, which fails if it is there",
            r"^(service (ps|inspect --format)|inspect --format)": "asked again, until the swarm has done it",
            r"^(secret|config) (ls|rm)|^service inspect project": "what nobody uses is removed after the next deploy",
        },
    ),
}


_SCRIPTS = "".join(script.read_text() for script in (REPOSITORY / "scripts").rglob("*.sh"))
_MANUAL = re.findall(r"^#?([A-Z]\w+)=", (REPOSITORY / ".env.example").read_text(), re.M)
_ASKED_FOR = [name for name in _MANUAL if re.search(rf"\b{name}\b", _SCRIPTS)]


def _make(folder: Path, operation: Operation) -> None:
    shutil.copytree(REPOSITORY / "scripts", folder / "scripts")
    shutil.copytree(REPOSITORY / "services/postgres", folder / "services/postgres")
    for name in ("compose.yaml", "compose.prod.yaml"):
        shutil.copy(REPOSITORY / name, folder / name)
    # Only what these scripts ask for: it is asked for at each change of .env.
    (folder / ".env.example").write_text("".join(f"#{name}=\n" for name in _ASKED_FOR))
    settings = {"COMPOSE_PROJECT_NAME": "project"} | SECRETS | dict(operation.settings)
    (folder / ".env").write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
    (folder / "ca.pem").write_text("a certificate\n")
    (folder / "backups").mkdir()
    (folder / "bin").mkdir()
    shutil.copy(REPOSITORY / "tests/unit/scripts/fake_docker", folder / "bin/docker")
    fake = folder / "fake"
    fake.mkdir()
    if operation.settings is not DEVELOPMENT:
        for name in ("old1", "old2"):
            (fake / f"replica-{name}").write_text("edge")
        # As scripts/prepare/env.sh writes them.
        (folder / "secrets").mkdir()
        for name, value in (SECRETS | {"TOKEN_KEY_PREVIOUS": "", "DB_PASS_PREVIOUS": ""}).items():
            (folder / "secrets" / name.lower()).write_text(value)
    for name, role in ROLES.items():
        (fake / f"password-{role}").write_text(SECRETS[name])
    operation.prepare(folder)


def files_of(folder: Path) -> dict[str, str]:
    """Return what an operation must not leave half changed."""
    paths = [folder / ".env", folder / ".env.rotating", *sorted(folder.glob("secrets/*"))]
    return {path.name: path.read_text() for path in paths if path.exists()}


def run(folder: Path, operation: Operation, **fake: str) -> tuple[dict[str, str], Outcome]:
    """Run an operation in a new folder; return the files before it, and what came of it."""
    _make(folder, operation)
    return run_again(folder, operation, **fake)


def run_again(folder: Path, operation: Operation, **fake: str) -> tuple[dict[str, str], Outcome]:
    """Run an operation; return the files before it, and what came of it."""
    (folder / "fake/calls").write_text("")
    before = files_of(folder)
    printed = folder / "fake/printed"
    printed.write_text("")
    with printed.open("a") as output:
        code = subprocess.run(
            operation.command,
            cwd=folder,
            env={
                "PATH": f"{folder}/bin:{os.environ['PATH']}",
                "HOME": str(folder),
                "LC_ALL": "C.UTF-8",
                "FAKE": f"{folder}/fake",
                "DEPLOY_TIMEOUT": "3",
                "DRAIN_TIMEOUT": "2",
                **operation.environment,
                **fake,
            },
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            timeout=600,
            check=False,
        ).returncode
    calls = [line.split(" ", 2) for line in (folder / "fake/calls").read_text().splitlines()]
    log = folder / ".deploy/log.jsonl"
    return before, Outcome(
        code,
        printed.read_text(),
        [(int(ticks), command) for ticks, _, command in calls],
        files_of(folder),
        [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else [],
        (folder / ".deploy/lock").exists(),
    )


def says(folder: Path, pattern: str, *lines: str, status: int = 0) -> None:
    """Let the fake engine answer the commands of this pattern (bash's) so; an earlier pattern wins."""
    answers = folder / "fake/says"
    answers.mkdir(exist_ok=True)
    number = len(list(answers.iterdir()))
    (answers / f"{number:02}").write_text("\n".join([pattern, str(status), *lines]) + "\n")


def place(outcome: Outcome, pattern: str) -> str:
    """Return the number of the call that this describes."""
    return next(str(number) for number, (_, call) in enumerate(outcome.calls, 1) if re.search(pattern, call))
