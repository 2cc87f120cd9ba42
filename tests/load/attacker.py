"""An attacker: requests of one kind from one address, the next as soon as there is an answer.

Standard library alone: tests/load/floods.py runs it by `python3 -c` in a container that has nothing else. Arguments:
host, port, tls or plain, kind, connections, seconds. Prints a line when it begins, and at the end what it got.
"""

import asyncio
import itertools
import json
import os
import ssl
import sys
from collections import Counter
from contextlib import suppress

KINDS = ("searches", "registrations", "log-ins", "connections", "refusals")

NEW = ("connections", "refusals")  # each time on a new connection


def request(kind: str, name: str) -> bytes:
    """Return one request; those with different names look for, register or try somebody else."""
    head, form, body = "GET /healthz", "", ""
    if kind == "searches":
        head = f"GET /posts?search={name}"
    elif kind == "registrations":
        body = json.dumps({"email": f"{name}@example.com", "password": "rahasia-123"})
        head, form = "POST /users", "application/json"
    elif kind == "log-ins":
        head, form = "POST /login", "application/x-www-form-urlencoded"
        body = f"username={name}@example.com&password=wrong-horse"
    elif kind == "refusals":
        head = "GET /metrics"  # the proxy refuses it by itself
    lines = [f"{head} HTTP/1.1", "Host: localhost"]
    lines += ["Connection: close"] if kind in NEW else []
    lines += [f"Content-Type: {form}", f"Content-Length: {len(body)}"] if body else []
    return "\r\n".join([*lines, "", body]).encode()


async def answered(reader: asyncio.StreamReader) -> tuple[str, bool]:
    """Read one answer; return its status, and whether another may follow on this connection."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    fields = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
    await reader.readexactly(int(fields.get("content-length", "0")))
    return head.split()[1], "content-length" in fields and fields.get("connection") != "close"


async def flood(host: str, port: int, tls: bool, kind: str, connections: int, seconds: float) -> Counter[str]:
    """Flood for so many seconds; return the answers by status, and how many connections were cut."""
    context = ssl._create_unverified_context() if tls else None
    seen: Counter[str] = Counter()
    numbers, run = itertools.count(), os.urandom(4).hex()

    async def client() -> None:
        while True:
            writer = None
            try:
                reader, writer = await asyncio.open_connection(host, port, ssl=context)
                kept = True
                while kept:
                    writer.write(request(kind, f"{run}{next(numbers)}"))
                    status, kept = await answered(reader)
                    seen[status] += 1
            except (OSError, asyncio.IncompleteReadError):
                seen["cut"] += 1
                await asyncio.sleep(0.1)
            finally:
                if writer:
                    writer.close()

    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await asyncio.gather(*(client() for _ in range(connections)))
    return seen


if __name__ == "__main__":
    where, number, how, what, count, length = sys.argv[1:]
    print("begun", flush=True)
    print(json.dumps(asyncio.run(flood(where, int(number), how == "tls", what, int(count), float(length)))))
