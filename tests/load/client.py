"""A few requests, one after another, from inside the network: python3 -m tests.load.client < REQUESTS

Reads a JSON list of {method, url, headers, body}, writes a list of {status, headers, body, seconds}. With `repeat_for`
(seconds) in a request, it is sent again and again for that long, and the list has every answer.
"""

import http.client
import json
import sys
import time
from typing import Any
from urllib.parse import urlsplit


def _send(connection: http.client.HTTPConnection, request: dict[str, Any]) -> dict[str, Any]:
    url = urlsplit(request["url"])
    began = time.monotonic()
    path = url.path + (f"?{url.query}" if url.query else "")
    connection.request(request.get("method", "GET"), path, request.get("body"), request.get("headers", {}))
    answer = connection.getresponse()
    body = answer.read().decode()
    seconds = time.monotonic() - began
    if answer.will_close:
        connection.close()
    return {"status": answer.status, "headers": dict(answer.headers.items()), "body": body, "seconds": seconds}


def main() -> None:
    connections: dict[str, http.client.HTTPConnection] = {}
    answers = []
    for request in json.load(sys.stdin):
        host = urlsplit(request["url"]).netloc
        connection = connections.setdefault(host, http.client.HTTPConnection(host, timeout=60))
        end = time.monotonic() + request.get("repeat_for", 0)
        answers.append(_send(connection, request))
        while time.monotonic() < end:
            answers.append(_send(connection, request))
    json.dump(answers, sys.stdout)


if __name__ == "__main__":
    main()
