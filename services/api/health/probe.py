"""Container health check: exit 0 if /readyz answers 200. Only the standard library, so that it starts quickly."""

import http.client
import sys


def _main() -> int:
    connection = http.client.HTTPConnection("127.0.0.1", 8000, timeout=4)
    try:
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        body = answer.read(1000).decode(errors="replace")
    except OSError as error:
        sys.stdout.write(f"no answer: {error}\n")
        return 1
    sys.stdout.write(f"{answer.status} {body}\n")
    return 0 if answer.status == 200 else 1


sys.exit(_main())
