"""Traffic that shall notice nothing, while something is done to a stack: a deploy, new secrets, a reload of the proxy.

    with Unnoticed(stack) as traffic:
        stack.make("deploy")
    traffic.check()

Half of the users keep their connections, and pause between requests, so that many are idle at any moment; the others
take a new one for each request. All keep books (loadtest.py): what was acknowledged is there afterwards, once.
"""

import json
import os
import random
import ssl
import time
from collections import Counter
from datetime import UTC, datetime, timedelta

import jwt

from tests.load.loadtest import Answer, MixedTraffic, User, fill, late, lost_writes, verdict
from tests.load.traffic import NO_ANSWER
from tests.stack.conftest import Stack, wait_for

RATE = float(os.environ.get("TRAFFIC_RATE", "30"))  # requests a second
_NEW_CONNECTIONS = 0.3  # of the requests: each costs a TLS handshake, ours in Python
_USERS = max(20, int(RATE / 3))  # of either kind


class Unnoticed:
    """Mixed reads and writes from the moment of `with` to its end."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        fill(stack)
        stack.log_in("first@example.com")
        people = {kind: self._people(kind) for kind in ("kept", "new")}
        # The certificate may be of the proxy's own making; what is asked here is not who answers.
        verify = ssl._create_unverified_context()
        rates = {"kept": RATE * (1 - _NEW_CONNECTIONS), "new": RATE * _NEW_CONNECTIONS}
        self._traffic = {
            kind: MixedTraffic(stack.url, rates[kind], users, kept=30 if kind == "kept" else 0, verify=verify)
            for kind, users in people.items()
        }
        self._users = [user for users in people.values() for user in users]

    def _people(self, kind: str) -> list[User]:
        """Users who could log in, but need not: forty hashes of a password take longer than a deploy."""
        added = self._stack.sql(
            f"INSERT INTO users (email, password) SELECT '{kind}' || n || '@example.com', password"
            f" FROM users, generate_series(1, {_USERS}) AS n WHERE email = 'first@example.com' RETURNING id, email"
        )
        people = []
        for user_id, email in (line.split("|") for line in added.splitlines()):
            claims = {"sub": user_id, "exp": datetime.now(UTC) + timedelta(hours=1)}
            token = jwt.encode(claims, self._stack.setting("TOKEN_KEY"), algorithm="HS256")
            name = email.partition("@")[0]
            people.append(User(name, email, {"Authorization": f"Bearer {token}"}, random.Random(name)))
        return people

    def __enter__(self) -> "Unnoticed":
        self._began = time.monotonic()
        for traffic in self._traffic.values():
            traffic.__enter__()
        time.sleep(1)
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.monotonic() - self._began
        for traffic in self._traffic.values():
            traffic.__exit__()

    def wait(self, seconds: float) -> None:
        """Go on until the traffic is that old."""
        time.sleep(max(0, self._began + seconds - time.monotonic()))

    def go_on(self, requests: int = 30) -> None:
        """Return when so many more have been answered, of either kind."""
        wanted = {kind: len(traffic.answers) + requests for kind, traffic in self._traffic.items()}
        wait_for(lambda: all(len(self._traffic[kind].answers) >= count for kind, count in wanted.items()), "answers")

    def check(self) -> None:
        """Print what was seen; fail if a request failed, or a write was lost or done twice."""
        wrong = [f"a write was lost or done twice: {each}" for each in lost_writes(self._stack, self._users)]
        failed: list[Answer] = []
        for kind, traffic in self._traffic.items():
            answers = traffic.answers
            wrong += [f"{kind}: {each}" for each in verdict(answers, traffic.surprises, None, None)]
            kinds = Counter(answer.kind for answer in answers)
            print(
                f"{kind} connections: {len(answers)} requests in {self.seconds:.0f} s"
                f" ({len(answers) / self.seconds:.0f}/s; {json.dumps(kinds)}),"
                f" the slowest read {max(a.seconds for a in answers if a.kind == 'read'):.2f} s"
            )
            assert all(kinds[each] for each in ("read", "create", "replace", "vote")), "there was not enough traffic"
            failed += [a for a in answers if a.status in (NO_ANSWER, *range(500, 600)) and not late(a)]
        wrong += [f"after {answer.sent - self._began:.1f} s: {answer}" for answer in failed]
        assert wrong == [], "\n".join(wrong[:30])
