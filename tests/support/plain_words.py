"""The remedies as they are before a project has put its own in their place: some test has loaded one before."""

from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

from tangga import remedies

_PLAIN = dict(remedies._texts)


@contextmanager
def plain_words() -> Iterator[None]:
    """Forget the words of other projects while the body runs, and its own afterwards."""
    with mock.patch.dict(remedies._texts, _PLAIN):
        yield
