"""Container health check: exit 0 if /readyz answers 200. Only the standard library, so that it starts quickly.

--once: when it has been ready, it is healthy as long as /healthz answers: for those who end what is unhealthy, although
that mends no database.
"""

import http.client
import os
import sys

_WAS_READY = "/tmp/tangga-was-ready"  # noqa: S108 - in the container's own memory, gone with it


def _main(*, once: bool) -> int:
    path = "/healthz" if once and os.path.exists(_WAS_READY) else "/readyz"  # noqa: PTH110 - pathlib takes as long as all else
    connection = http.client.HTTPConnection("127.0.0.1", 8000, timeout=4)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read(1000).decode(errors="replace")
    except OSError as error:
        sys.stdout.write(f"no answer: {error}\n")
        return 1
    sys.stdout.write(f"{answer.status} {body}\n")
    if answer.status != 200:
        return 1
    if once:
        os.close(os.open(_WAS_READY, os.O_CREAT))
    return 0


sys.exit(_main(once="--once" in sys.argv[1:]))
