"""What is thrown away of a request that was answered early has a bound."""

import asyncio
from typing import Any
from unittest import mock

import pytest

from services.api import protocol
from services.api.protocol import Discarding, Protocol


def _connection(*, body_has_come: bool, refused: bool = False) -> Protocol:
    connection = Protocol.__new__(Protocol)
    connection.transport = mock.Mock(**{"is_closing.return_value": False})
    connection._closed = False
    connection._refused = refused
    connection._body_receiver = mock.Mock(_complete=body_has_come)
    return connection


def _close(connection: Any) -> mock.Mock:
    transport: mock.Mock = connection.transport

    async def inside() -> None:
        connection._close_transport()

    with mock.patch.object(Discarding, "under_way", Discarding.under_way):
        asyncio.run(inside())
    return transport


@pytest.mark.parametrize(
    ("body_has_come", "refused", "discards"), [(True, False, False), (False, False, True), (True, True, True)]
)
def test_only_where_more_may_come_the_rest_is_read(body_has_come: bool, refused: bool, discards: bool) -> None:
    transport = _close(_connection(body_has_come=body_has_come, refused=refused))
    assert (transport.set_protocol.called, transport.close.called) == (discards, not discards)
    transport.write_eof.assert_called_once()


def test_past_the_bound_on_connections_they_are_closed_at_once() -> None:
    with mock.patch.object(Discarding, "under_way", protocol._CONNECTIONS):
        assert _close(_connection(body_has_come=False)).close.called


def test_past_the_bound_on_bytes_and_past_the_bound_on_time_a_client_is_cut_off() -> None:
    async def inside() -> None:
        slow, fast, too_late = mock.Mock(), mock.Mock(), asyncio.Event()
        slow.abort.side_effect = too_late.set
        with mock.patch.object(protocol, "_SECONDS", 0.01):
            Discarding(slow, mock.Mock())
        endless = Discarding(fast, mock.Mock())
        for _ in range(protocol._BYTES // 65536):
            endless.data_received(b"x" * 65536)
        fast.abort.assert_not_called()
        endless.data_received(b"x")
        fast.abort.assert_called_once()
        await asyncio.wait_for(too_late.wait(), 300)
        slow.abort.assert_called_once()

    before = Discarding.under_way
    with mock.patch.object(Discarding, "under_way", before):
        asyncio.run(inside())


def test_at_the_end_the_worker_counts_the_connection_no_longer() -> None:
    async def inside() -> None:
        before = mock.Mock()
        discarding = Discarding(mock.Mock(), before)
        under_way = Discarding.under_way
        discarding.connection_lost(None)
        before.connection_lost.assert_called_once_with(None)
        assert Discarding.under_way == under_way - 1

    asyncio.run(inside())
