"""`python -m bench.echo`: the floor of every request over NATS, a process that answers with what it was sent."""

import asyncio

import uvloop
from nats.aio.msg import Msg

from runtime.connection import connect
from runtime.settings import load_settings

ECHO = "floor.echo"


async def main(url: str) -> None:
    connection = await connect(url, "echo")

    async def answer(message: Msg) -> None:
        await connection.publish(message.reply, message.data)

    await connection.subscribe(ECHO, cb=answer, pending_bytes_limit=-1)
    await connection.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main(load_settings().nats_url))
