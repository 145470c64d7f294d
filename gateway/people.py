"""The REST interface's commands over NATS, JSON both ways: for people with `nats request`, and small programs."""

import logging
from collections.abc import Awaitable, Callable

import msgspec
from nats.aio.client import Client

from contracts.subjects import ORDERS_AMEND, ORDERS_CANCEL, ORDERS_PLACE
from entry.exchange import Done, Exchange
from entry.problems import Declined, Problem
from runtime.connection import respond

log = logging.getLogger(__name__)

QUEUE = "gateway"
_encode = msgspec.json.Encoder().encode


async def answer_people(connection: Client, exchange: Exchange) -> None:
    """One of all gateways answers each request: with the order, or with the problem."""
    for subject, carry_out in (
        (ORDERS_PLACE, exchange.place),
        (ORDERS_CANCEL, exchange.cancel_named),
        (ORDERS_AMEND, exchange.amend_named),
    ):
        await respond(connection, subject, _answering(carry_out), queue=QUEUE)


def _answering(carry_out: Callable[[bytes], Awaitable[Done]]) -> Callable[[bytes], Awaitable[bytes]]:
    async def answer(body: bytes) -> bytes:
        try:
            return _encode((await carry_out(body)).view)
        except Declined as error:
            return error.problem.content
        except Exception:
            log.exception("a request over NATS failed")
            return Problem(code="internal_error", detail="The gateway made a mistake and has logged it.").content

    return answer
