"""The app with a fault, for test_contract.py: it answers with a status that its document does not know."""

from starlette.types import Message, Receive, Scope, Send

from services.api.main import app as _sound


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    async def send_another_status(message: Message) -> None:
        if message["type"] == "http.response.start" and message["status"] == 404:
            message["status"] = 410
        await send(message)

    await _sound(scope, receive, send_another_status)
