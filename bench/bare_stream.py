"""`python -m bench.bare_stream FD`: the floor of streaming, the same WebSocket server sending what it is given.

Each NATS message on `MESSAGES` is a list of texts, as many as a commit brings; each client is sent each of them,
through ASGI, as any application on uvicorn would. On `FRAMES` come finished frames, which are written to every socket
as they are: no server can do less. No journal, no books, no encoding. It serves on the listening socket that it
inherits as FD.
"""

import asyncio
import socket
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import msgspec
import uvicorn
import uvloop
from nats.aio.msg import Msg
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from runtime.connection import connect
from runtime.settings import load_settings

MESSAGES, FRAMES = "floor.stream", "floor.frames"

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class Relay:
    """An ASGI application. Everyone reads the same list, each from where it is."""

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._more = asyncio.Event()

    async def take(self, message: Msg) -> None:
        self._texts += msgspec.msgpack.decode(message.data, type=list[str])
        more, self._more = self._more, asyncio.Event()
        more.set()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        await send({"type": "websocket.accept"})
        sending = asyncio.create_task(self._send_all(send))
        while (await receive())["type"] != "websocket.disconnect":
            pass
        sending.cancel()

    async def _send_all(self, send: Send) -> None:
        at = len(self._texts)
        while True:
            while at == len(self._texts):
                await self._more.wait()
            text = self._texts[at]
            at += 1
            await send({"type": "websocket.send", "text": text})


async def main(url: str, listener: socket.socket) -> None:
    relay = Relay()
    config = uvicorn.Config(
        relay,
        ws="websockets-sansio",
        ws_per_message_deflate=False,
        loop="none",
        lifespan="off",
        access_log=False,
        log_config=None,
        server_header=False,
    )
    server = uvicorn.Server(config)

    async def write(message: Msg) -> None:
        for connection in server.server_state.connections:
            if isinstance(connection, WebSocketsSansIOProtocol):
                connection.transport.write(message.data)

    connection = await connect(url, "bare-stream")
    await connection.subscribe(MESSAGES, cb=relay.take, pending_bytes_limit=-1, pending_msgs_limit=-1)
    await connection.subscribe(FRAMES, cb=write, pending_bytes_limit=-1, pending_msgs_limit=-1)
    await connection.flush()
    await server.serve(sockets=[listener])


if __name__ == "__main__":
    uvloop.run(main(load_settings().nats_url, socket.socket(fileno=int(sys.argv[1]))))
