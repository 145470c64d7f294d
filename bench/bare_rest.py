"""`python -m bench.bare_rest FD`: the floor of an order over REST, the same web server doing next to nothing.

Litestar reads the body into a struct, a process on the other side of NATS echoes it, Litestar writes it back. No
decimals, no rules, no journal. It serves on the listening socket that it inherits as FD, set up like the gateway.
"""

import socket
import sys
from typing import Annotated

import msgspec
import uvicorn
import uvloop
from litestar import Litestar, post
from litestar.params import Body

from bench.client import NatsAsker
from bench.echo import ECHO
from runtime.connection import connect
from runtime.settings import load_settings


class Order(msgspec.Struct):
    symbol: str
    side: str
    type: str
    price: str
    quantity: str
    time_in_force: str


def application(asker: NatsAsker) -> Litestar:
    @post("/orders")
    async def place(data: Annotated[Order, Body()]) -> Order:
        echoed = await asker.ask(ECHO, msgspec.msgpack.encode(data))
        return msgspec.msgpack.decode(echoed, type=Order)

    return Litestar([place], openapi_config=None, logging_config=None)


async def main(url: str, listener: socket.socket) -> None:
    asker = NatsAsker(await connect(url, "bare-rest"))
    await asker.start()
    config = uvicorn.Config(
        application(asker),
        http="httptools",
        ws="none",
        loop="none",
        lifespan="off",
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_keep_alive=75,
    )
    await uvicorn.Server(config).serve(sockets=[listener])


if __name__ == "__main__":
    uvloop.run(main(load_settings().nats_url, socket.socket(fileno=int(sys.argv[1]))))
