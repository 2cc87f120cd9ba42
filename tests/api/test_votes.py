from concurrent.futures import ThreadPoolExecutor

import pytest
from fastapi.testclient import TestClient
from httpx2 import Response
from psycopg2.extensions import connection as Connection

from tests.api.support import MISSING, Person, assert_problem, send
from tests.databases import run


def _vote(client: TestClient, voter: Person, post_id: object, direction: object) -> Response:
    return send(client, "POST", "/vote", {"post_id": post_id, "dir": direction}, voter)


def test_a_vote_counts_once_and_can_be_taken_back_once(
    client: TestClient, owner: Connection, budi: Person, post_id: int
) -> None:
    response = _vote(client, budi, post_id, 1)
    assert (response.status_code, set(response.json())) == (201, {"detail"})
    assert_problem(_vote(client, budi, post_id, 1), 409, "already voted")
    assert run(owner, "SELECT user_id, post_id FROM votes") == [(budi.id, post_id)]
    response = _vote(client, budi, post_id, 0)
    assert (response.status_code, set(response.json())) == (201, {"detail"})
    assert_problem(_vote(client, budi, post_id, 0), 404, "no vote on this post")
    assert run(owner, "SELECT * FROM votes") == []


def test_taking_a_vote_back_leaves_those_of_others(
    client: TestClient, owner: Connection, ani: Person, budi: Person, post_id: int
) -> None:
    for voter in (ani, budi):
        _vote(client, voter, post_id, 1)
    assert _vote(client, ani, post_id, 0).status_code == 201
    assert run(owner, "SELECT user_id FROM votes") == [(budi.id,)]


@pytest.mark.parametrize("direction", [0, 1])
@pytest.mark.parametrize("post_id", [1, MISSING])
def test_a_vote_for_a_post_that_is_not_there_is_404(
    client: TestClient, budi: Person, post_id: int, direction: int
) -> None:
    assert_problem(_vote(client, budi, post_id, direction), 404, "no such post")


@pytest.mark.parametrize("direction", [-1, 2, 10**30, 0.5, "up", "1\0", None, [1]])
def test_no_other_direction_exists(
    client: TestClient, owner: Connection, budi: Person, post_id: int, direction: object
) -> None:
    assert_problem(_vote(client, budi, post_id, direction), 422)
    assert run(owner, "SELECT * FROM votes") == []


@pytest.mark.parametrize("post_id", [0, -1, 2**31, 2**63, 1.5, "x", "\ud800", None])
def test_an_id_that_no_post_can_have_is_422(client: TestClient, budi: Person, post_id: object) -> None:
    assert_problem(_vote(client, budi, post_id, 1), 422)


@pytest.mark.parametrize("body", [{}, {"post_id": 1}, {"dir": 1}, {"post_id": 1, "dir": 1, "user_id": 1}, [], None])
def test_a_body_of_another_form_is_422(client: TestClient, budi: Person, body: object) -> None:
    assert_problem(send(client, "POST", "/vote", body, budi), 422)


def _vote_twenty_times(client: TestClient, voter: Person, post_id: int, direction: int) -> list[int]:
    with ThreadPoolExecutor(20) as pool:
        return sorted(pool.map(lambda _: _vote(client, voter, post_id, direction).status_code, range(20)))


def test_of_twenty_equal_votes_at_once_one_counts(
    client: TestClient, owner: Connection, budi: Person, post_id: int
) -> None:
    run(owner, "ALTER TABLE votes DROP CONSTRAINT pk_votes")
    try:
        assert _vote_twenty_times(client, budi, post_id, 1) == [201] * 20
    finally:
        run(owner, "TRUNCATE votes")
        run(owner, "ALTER TABLE votes ADD CONSTRAINT pk_votes PRIMARY KEY (user_id, post_id)")
    assert _vote_twenty_times(client, budi, post_id, 1) == [201] + [409] * 19
    assert run(owner, "SELECT count(*) FROM votes") == [(1,)]
    assert _vote_twenty_times(client, budi, post_id, 0) == [201] + [404] * 19
