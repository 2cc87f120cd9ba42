"""The app with passwords that are hashed when it is told so, for test_registrations.py.

In a folder, `began` has a byte for each that has begun, and `go` lets them end.
"""

import os
import time
from pathlib import Path

from services.api.main import app as app
from services.api.users import routes

_folder = Path(os.environ["HASH_FOLDER"])


def _hash(password: str) -> str:
    with (_folder / "began").open("a") as began:
        began.write("x")
    end = time.monotonic() + 600
    while not (_folder / "go").exists() and time.monotonic() < end:
        time.sleep(0.01)
    return f"hash of {len(password)} characters"


setattr(routes, "hash_password", _hash)  # noqa: B010 - the module does not export it
