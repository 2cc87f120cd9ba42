"""For schemathesis (test_contract.py): requests are made by several users in turn, with tokens that hold."""

import os
from itertools import cycle
from typing import Any

import schemathesis

_tokens = os.environ["CONTRACT_TOKENS"].split(",")
_turns = cycle(_tokens)


@schemathesis.auth(refresh_interval=None)
class Tokens:
    """Give each request the next user's token; votes are one user's, or nobody would take back their own."""

    def get(self, case: schemathesis.Case[Any], _context: schemathesis.AuthContext) -> str:
        return _tokens[0] if case.path == "/vote" else next(_turns)

    def set(self, case: schemathesis.Case[Any], data: str, _context: schemathesis.AuthContext) -> None:
        case.headers["Authorization"] = f"Bearer {data}"


# To JSON Schema 1.0 is an integer, but nobody would write it so in an address.
@schemathesis.hook
def map_path_parameters(_context: schemathesis.HookContext, path_parameters: dict[str, Any]) -> dict[str, Any]:
    """Write whole numbers as such."""
    return _written(path_parameters)


@schemathesis.hook
def map_query(_context: schemathesis.HookContext, query: dict[str, Any]) -> dict[str, Any]:
    """Write whole numbers as such."""
    return _written(query)


def _written(parameters: dict[str, Any]) -> dict[str, Any]:
    whole = {name: int(v) for name, v in (parameters or {}).items() if isinstance(v, float) and v.is_integer()}
    return {**parameters, **whole} if whole else parameters
