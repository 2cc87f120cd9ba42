"""The one error that routes raise."""

from collections.abc import Mapping


class Problem(Exception):
    """An answer other than success: an HTTP status, a sentence for the reader, headers if the status asks for them."""

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = headers

    @classmethod
    def unauthorized(cls) -> "Problem":
        """401 for a token that is missing, wrong, expired, or whose user is gone: one answer for all."""
        return cls(401, "Log in first: the token is missing or not valid.", {"WWW-Authenticate": "Bearer"})
