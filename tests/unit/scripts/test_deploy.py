"""What a deploy decides, by its functions alone; and what it does of that, on the fake engine."""

import itertools
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.scripts.doing import calls, do
from tests.unit.scripts.operations import OPERATIONS, Outcome, says
from tests.unit.scripts.shell import call

DECISIONS = "lib/ui.sh lib/exits.sh deploy/decisions.sh"


def decide(function: str, *arguments: str, stdin: str = "") -> str:
    return call(DECISIONS, function, *arguments, stdin=stdin)


# ---- Decisions -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("everybody", "known", "others"),
    [("b\na\nc", "a\nc", "b\n"), ("a", "a", ""), ("a\nb", "", "a\nb\n"), ("", "a", ""), ("a", "b\na", "")],
)
def test_who_is_new(everybody: str, known: str, others: str) -> None:
    assert decide("others", everybody, known) == others


@pytest.mark.parametrize("number", ["1", "16"])
def test_as_many_replicas_as_have_a_place_beside_the_old_ones(number: str) -> None:
    decide("suitable_number", number, "32")


@pytest.mark.parametrize("number", ["0", "17", "", "two", "-1", "01", "1.5", "16 "])
def test_no_other_number_of_replicas(number: str) -> None:
    call(DECISIONS, "suitable_number", number, "32", status=1)


@pytest.mark.parametrize(
    ("name", "tag"),
    [("v1.2-3-gabc", "v1.2-3-gabc"), ("feature/a b", "feature-a-b"), ("", "20260101T000000Z"), ("é", "-")],
)
def test_the_name_of_a_release(name: str, tag: str) -> None:
    assert decide("tag_from", name, "20260101T000000Z") == tag


@pytest.mark.parametrize(
    ("status", "where"), [(0, "here"), (6, "ahead"), (8, "behind"), (1, "unknown"), (137, "unknown")]
)
def test_where_the_database_is(status: int, where: str) -> None:
    assert decide("schema_after_check", str(status)) == f"{where}\n"


@pytest.mark.parametrize(
    ("current", "target", "keep", "down"),
    [("b", "a", "", "1\n"), ("a", "a", "", ""), ("b", "a", "1", ""), ("", "a", "", "1\n")],
)
def test_whether_the_schema_goes_down(current: str, target: str, keep: str, down: str) -> None:
    assert decide("goes_down", current, target, keep) == down


@pytest.mark.parametrize(
    ("state", "cause", "log", "said"),
    [
        ("running 0", "", "started", ""),
        ("running 1", "no database", "a\nb", "it crashes: no database"),
        ("restarting 2", "", "a\nb", "it crashes: b"),
        ("exited 0", "", "", "it crashes: "),
    ],
)
def test_why_a_replica_will_not_become_ready(state: str, cause: str, log: str, said: str) -> None:
    assert decide("crash_of", state, cause, log) == said


STAT = """# addr,pxname,svname,status,scur,check_status
10.0.0.1:8000,api,api1,UP,0,L7OK
10.0.0.11:8000,api,api2,UP,3,L7OK
,api,api3,MAINT,0,
10.0.0.2:8000,api,api4,DOWN,0,L4TOUT
"""


def test_the_places_of_addresses_whatever_the_order_of_the_columns() -> None:
    places = decide("places_at", "10.0.0.1", "10.0.0.2", stdin=STAT)
    assert places.splitlines() == ["api1 UP L7OK 0", "api4 DOWN L4TOUT 0"]
    assert decide("how_many_are_up", places) == "1\n"
    assert decide("how_many_work", places) == "0\n"
    assert decide("places_at", "10.0.0.3", stdin=STAT) == ""
    busy = decide("places_at", "10.0.0.11", stdin=STAT)
    assert (decide("how_many_are_up", busy), decide("how_many_work", busy)) == ("1\n", "1\n")
    assert (decide("how_many_are_up", ""), decide("how_many_work", "")) == ("0\n", "0\n")


def releases(*noted: str) -> str:
    """Return "FROM TO OUTCOME" of deploys, or with an action before it, as noted_releases prints them."""
    fields = [line.split(" ") for line in noted]
    return "".join("\t".join(["deploy"] * (len(each) == 3) + each) + "\n" for each in fields)


@pytest.mark.parametrize(
    ("noted", "tag", "before"),
    [
        (["v0 v1 ok", "v1 v2 ok"], "v2", "v1\n"),
        (["v0 v1 ok", "v1 v2 ok"], "v3", ""),
        ([], "v1", ""),
        (["v1 v2 ok", "v0 v2 ok"], "v2", "v0\n"),  # deployed twice: the last time counts
        (["v1 v2 ok", "v2 v2 ok", " v2 ok"], "v2", "v1\n"),  # nobody comes before itself
        (["v1 v2 ok", "undeploy v2 v1 ok"], "v1", ""),
        (["v1 v1x0 ok"], "v1.0", ""),  # a full stop is one
    ],
)
def test_which_release_came_before(noted: list[str], tag: str, before: str) -> None:
    assert decide("release_before", tag, stdin=releases(*noted)) == before


@pytest.mark.parametrize(
    ("noted", "now", "before", "forgotten"),
    [
        (["a b ok", "b c ok", "c d ok", "d e ok"], "e", "d", ["b"]),
        (["a b ok", "b x failed", "b c ok"], "c", "b", ["x"]),
        (["a b ok", "b c ok", "c d ok", "d b ok"], "b", "d", []),
        (["a b ok", "b c ok", "c d ok", "d e ok"], "e", "b", []),  # whom one can go back to stays
        (["undeploy a z ok"], "e", "", []),  # never deployed
        ([], "e", "", []),
    ],
)
def test_which_releases_are_forgotten(noted: list[str], now: str, before: str, forgotten: list[str]) -> None:
    assert decide("tags_to_forget", "3", now, before, stdin=releases(*noted)).split() == forgotten


def test_images_by_their_tag() -> None:
    images = "localhost:5000/p-api:v1\np-api:v10\np-tools:v2\n"
    assert decide("images_with", "v1\nv2", stdin=images) == "localhost:5000/p-api:v1\np-tools:v2\n"
    assert decide("images_with", "", stdin=images) == ""


# ---- What is done of it ----------------------------------------------------------------------------------------------


def deploy(folder: Path, *arguments: str, prepare: Callable[[Path], object] = bool, name: str = "deploy") -> Outcome:
    command = (OPERATIONS[name].command[0], *arguments) if arguments else ()
    return do(name, folder, command=command, prepare=prepare)


def noted(*lines: dict[str, str]) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / ".deploy").mkdir(exist_ok=True)
        (folder / ".deploy/log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))

    return write


UNANSWERED = {
    "no network": ("network ls *", (), 0, "the network of the proxy is not there"),
    "two networks": ("network ls *", ("one", "two"), 0, "the network of the proxy is not there"),
    "the engine fails": ("network ls *", (), 1, "docker network ls failed"),
    "the proxy says nothing": ("*socat*", (), 0, "the proxy does not say which replicas serve"),
    "the proxy fails": ("*socat*", (), 1, "the proxy does not say which replicas serve"),
    "who is in rotation": ("ps *network=project_edge*", (), 1, "what an earlier run may have left"),
    "the proxy is elsewhere": ("ps *service=proxy*", (), 0, "the proxy is not on the network project_rotation"),
    "no proxy": ("compose ps *proxy", (), 0, "the proxy does not run"),
}


@pytest.mark.parametrize("name", ["deploy", "undeploy"])
@pytest.mark.parametrize("what", UNANSWERED)
def test_nobody_is_removed_where_nobody_says_who_serves(name: str, what: str, tmp_path: Path) -> None:
    pattern, answer, status, cause = UNANSWERED[what]
    outcome = deploy(tmp_path, prepare=lambda folder: says(folder, pattern, *answer, status=status), name=name)
    assert outcome.code != 0
    assert cause in outcome.printed
    assert not calls(outcome, "^(rm|stop|kill|start|compose (up|stop|rm)|network (dis)?connect) ")


def test_what_a_killed_run_has_left_is_removed_and_who_serves_is_not(tmp_path: Path) -> None:
    outcome = deploy(tmp_path, prepare=lambda folder: (folder / "fake/replica-left").write_text(""))
    assert outcome.code == 0, outcome.printed
    assert calls(outcome, "^rm --force") == ["rm --force left", "rm --force old1 old2"]
    assert calls(outcome, "--scale") == ["compose up --no-start --no-deps --no-recreate --scale api=4 api"]


BEHIND = '503 {"title": "Service Unavailable", "detail": "the schema is behind"}'


@pytest.mark.parametrize(
    ("state", "checks", "cause"),
    [
        ("restarting 1", [BEHIND], "it crashes: no such table"),
        ("running 0", ["starting", BEHIND, ""], "/readyz: the schema is behind"),
        # Busy, too.
        ("running 0", [BEHIND, "", "Health check exceeded timeout (5s)", ""], "/readyz: the schema is behind"),
        ("running 0", ["", "no answer: nothing listens", ""], "/readyz: no answer: nothing listens"),
        ("running 0", [], "/readyz: no answer"),
    ],
)
def test_a_release_that_does_not_become_ready_goes_and_the_old_one_stays(
    state: str, checks: list[str], cause: str, tmp_path: Path
) -> None:
    def prepare(folder: Path) -> None:
        says(folder, "inspect --format {{.State.Status}} {{.RestartCount}} new*", state)
        says(folder, "inspect --format {{.State.Health.Status}} new*", "unhealthy")
        says(folder, "logs *", "error: of the day before", "starting", "error: no such table", "   do: nothing")
        says(folder, "inspect --format {{with .State.Health}}*", *checks)

    outcome = deploy(tmp_path, prepare=prepare)
    assert outcome.code == 1
    assert re.search(rf"^error: release \S+ does not become ready: {cause}$", outcome.printed, re.M), outcome.printed
    assert "The old release goes on serving." in outcome.printed
    assert calls(outcome, "^rm --force") == ["rm --force new1 new2"]
    assert outcome.files[".env"].count("TAG=v1\n") == 1
    assert outcome.log[-1]["reason"].endswith(cause)


def test_a_first_deploy_hurts_nobody_so_nothing_is_linted(tmp_path: Path) -> None:
    def nobody(folder: Path) -> None:
        for replica in folder.glob("fake/replica-*"):
            replica.unlink()

    outcome = deploy(tmp_path, prepare=nobody)
    assert outcome.code == 0, outcome.printed
    assert not calls(outcome, " lint ")
    assert outcome.log[-1]["from"] == ""
    assert "is kept: make undeploy" not in outcome.printed


def test_steps_that_would_hurt_end_it_before_anything_is_changed(tmp_path: Path) -> None:
    outcome = deploy(tmp_path, prepare=lambda folder: says(folder, "*alembic lint *", "a finding", status=12))
    assert outcome.code == 1
    assert "a finding" in outcome.printed
    assert "error: pending steps would hurt the release that runs" in outcome.printed
    assert not calls(outcome, "^compose up|backup dump")
    agreed = deploy(tmp_path / "agreed", "--outage")
    assert agreed.code == 0, agreed.printed
    assert calls(agreed, "alembic lint --pending --outage$")


def test_a_file_of_a_step_that_is_odd_ends_it_and_is_named(tmp_path: Path) -> None:
    """The linter has looked at the other files, and says on stdout which is odd."""
    outcome = deploy(tmp_path, prepare=lambda folder: says(folder, "*alembic lint *", "odd.py:1  no-chain", status=15))
    assert outcome.code == 15
    assert "odd.py:1  no-chain" in outcome.printed
    assert "the pending steps could not be linted" in outcome.printed
    assert not calls(outcome, "^compose up|backup dump")


def test_a_schema_that_is_ahead_is_left_as_it_is(tmp_path: Path) -> None:
    outcome = deploy(tmp_path, prepare=lambda folder: says(folder, "*alembic current --check-heads", status=6))
    assert outcome.code == 0, outcome.printed
    assert "The schema is ahead of release" in outcome.printed
    assert not calls(outcome, "^compose up .* migrate$| backup dump$")


@pytest.mark.parametrize(("tag", "noted_from", "before"), [("v1", "", "v0"), ("v2", "v1", "v1")])
def test_a_release_with_the_same_tag_is_not_the_one_before(
    tag: str, noted_from: str, before: str, tmp_path: Path
) -> None:
    # The keys are in another order than the scripts write them.
    outcome = deploy(tmp_path, tag, prepare=noted({"outcome": "ok", "to": "v1", "from": "v0", "action": "deploy"}))
    assert outcome.code == 0, outcome.printed
    assert (
        f"Release {tag} serves, at revision 0c1d2e3f. The one before it, {before}, is kept: make undeploy"
        in outcome.printed
    )
    assert (outcome.log[-1]["from"], outcome.log[-1]["to"]) == (noted_from, tag)


def test_a_tag_without_an_image_is_refused(tmp_path: Path) -> None:
    outcome = deploy(tmp_path, "v9", prepare=lambda folder: says(folder, "image ls --quiet project-api:v9"))
    assert outcome.code == 1
    assert "error: there is no image project-api:v9 here" in outcome.printed
    assert outcome.log[-1]["reason"] == "there is no image project-api:v9 here"
    assert not calls(outcome, "^compose (up|.*build)")


def test_old_releases_are_forgotten_but_those_that_one_can_go_back_to(tmp_path: Path) -> None:
    order = ["a", "b", "c", "v0", "v1"]
    lines = [{"action": "deploy", "from": x, "to": y, "outcome": "ok"} for x, y in itertools.pairwise(order)]
    outcome = deploy(tmp_path, "v2", prepare=noted(*lines))
    assert outcome.code == 0, outcome.printed
    assert calls(outcome, "^image rm") == ["image rm project-api:b", "image rm project-api:c"]


# ---- Back ------------------------------------------------------------------------------------------------------------


def test_nobody_goes_back_to_a_release_that_nobody_has_noted(tmp_path: Path) -> None:
    outcome = deploy(
        tmp_path, prepare=noted({"action": "deploy", "from": "v0", "to": "v7", "outcome": "ok"}), name="undeploy"
    )
    assert outcome.code == 1
    assert "error: nobody has noted which release came before v1" in outcome.printed


def test_nobody_goes_back_to_a_release_without_an_image(tmp_path: Path) -> None:
    outcome = deploy(tmp_path, prepare=lambda folder: says(folder, "image ls --quiet *:v0"), name="undeploy")
    assert outcome.code == 1
    assert "error: the image of release v0 is not here any more" in outcome.printed


@pytest.mark.parametrize("arguments", [("--keep-schema",), ("--yes", "--keep-schema")])
def test_back_without_the_steps_down(arguments: tuple[str, ...], tmp_path: Path) -> None:
    outcome = deploy(tmp_path, *arguments, name="undeploy")
    assert outcome.code == 0, outcome.printed
    assert "Release v0 serves, at revision 0c1d2e3f. Forward again: make deploy tag=v1" in outcome.printed
    assert not calls(outcome, "alembic (downgrade|losses)")
    assert "TAG=v0\n" in outcome.files[".env"]


def test_back_at_the_same_revision_goes_nowhere(tmp_path: Path) -> None:
    outcome = deploy(
        tmp_path, prepare=lambda folder: says(folder, "*alembic heads", "0c1d2e3f (head)"), name="undeploy"
    )
    assert outcome.code == 0, outcome.printed
    assert not calls(outcome, "alembic (downgrade|losses)")


@pytest.mark.parametrize(
    ("status", "printed", "reason"),
    [
        (11, "this would lose data", "nothing was changed: the steps down would lose data"),
        (1, "it says nothing, exit 1", "nothing was changed: what the steps down would lose could not be asked"),
    ],
)
def test_back_loses_nothing_unless_somebody_agrees(status: int, printed: str, reason: str, tmp_path: Path) -> None:
    outcome = do(
        "undeploy",
        tmp_path,
        command=("scripts/undeploy.sh",),
        prepare=lambda folder: says(folder, "*alembic losses *", "posts.nama", status=status),
    )
    assert outcome.code == status
    assert printed in outcome.printed
    assert outcome.log[-1]["reason"] == reason
    assert not calls(outcome, "^compose up|^rm ")
