"""For schemathesis (test_contract.py): requests are made by several users in turn, with tokens that hold."""

import os
import re
from itertools import count, cycle
from typing import Any

import schemathesis

_tokens = os.environ["CONTRACT_TOKENS"].split(",")
_turns = cycle(_tokens)
_numbers = count()
_KEY = re.compile("[!-~]{1,255}")


@schemathesis.auth(refresh_interval=None)
class Tokens:
    """Give each request the next user's token; votes are one user's, or nobody would take back their own."""

    def get(self, case: schemathesis.Case[Any], _context: schemathesis.AuthContext) -> str:
        return _tokens[0] if case.path == "/vote" else next(_turns)

    def set(self, case: schemathesis.Case[Any], data: str, _context: schemathesis.AuthContext) -> None:
        case.headers["Authorization"] = f"Bearer {data}"


@schemathesis.hook
def before_call(_context: schemathesis.HookContext, case: schemathesis.Case[Any], _options: dict[str, Any]) -> None:
    """Write whole numbers as such in addresses: 1.0 is an integer to JSON Schema, but nobody would write it there.

    Use no Idempotency-Key twice: the answer of a creation that is replayed may name a post that is gone by now.
    """
    case.path_parameters = _written(case.path_parameters)
    case.query = _written(case.query)
    for name, value in (case.headers or {}).items():
        if name.lower() == "idempotency-key" and _KEY.fullmatch(str(value)):
            case.headers[name] = f"{value[:200]}{next(_numbers)}"


def _written(parameters: dict[str, Any]) -> dict[str, Any]:
    whole = {name: int(v) for name, v in (parameters or {}).items() if isinstance(v, float) and v.is_integer()}
    return {**parameters, **whole} if whole else parameters
