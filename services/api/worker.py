"""gunicorn's asgi worker, with our protocol, and connections spread evenly over the workers."""

import asyncio
import gc
from typing import Any

from gunicorn.workers.gasgi import ASGIWorker  # type: ignore[import-untyped]

from services.api.protocol import Protocol


class Worker(ASGIWorker):  # type: ignore[misc]
    """Takes one connection at a time from the queue that it shares with the other workers.

    asyncio takes as many as wait, up to `backlog` (100). When a proxy or a load generator opens its connections all at
    once, whichever worker wakes first then serves them all, and the others nobody (measured: decision 23).
    """

    _beats = 0

    def _setup_event_loop(self) -> None:
        super()._setup_event_loop()
        create_server = self.loop.create_server

        async def accepting_one_at_a_time(_protocol: Any, *, sock: Any, **options: Any) -> asyncio.Server:
            server: asyncio.Server = await create_server(lambda: Protocol(self), sock=sock, backlog=1, **options)
            sock.listen(self.cfg.backlog)  # asyncio has shortened the queue to one, too
            return server

        self.loop.create_server = accepting_one_at_a_time

    def notify(self) -> None:
        """Beat, once a second; every ten seconds, clear away what closed connections leave behind: cycles of objects.

        gunicorn.conf.py lets the interpreter do so seldom, because it would do it in mid-load, and by the number of
        objects, not by the clock.
        """
        super().notify()
        self._beats += 1
        if self._beats % 10 == 0:
            gc.collect()
