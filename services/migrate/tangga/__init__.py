"""What Alembic lacks, as a library and a command line: migrations that cannot hurt, and proof of it."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tangga.environment import connected, guarded

__all__ = ["connected", "guarded"]


def __getattr__(name: str) -> Any:
    # Only when env.py asks: what is quick because it loads little (precheck.py) is in this package too.
    if name in __all__:
        from tangga import environment

        return getattr(environment, name)
    raise AttributeError(name)
