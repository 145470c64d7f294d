"""`pricetime handover`: the matcher finishes what it has, and the one that stands by goes on from exactly there.

Nothing is lost and nothing is refused; orders that come meanwhile wait for some hundredths of a second.
"""

import argparse
import asyncio

import msgspec
from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.errors import NoRespondersError

from cli.asking import address, connected
from cli.errors import CommandError
from cli.options import add_nats
from contracts.subjects import MATCHER_HANDOVER
from runtime.connection import close
from runtime.micro import is_failure
from runtime.tls import NatsTls

ANSWER_SECONDS = 15.0


class Successor(msgspec.Struct, frozen=True):
    id: str
    host: str
    pid: int


class HandedOver(msgspec.Struct, frozen=True):
    sequence: int
    to: Successor
    seconds: float


class _Problem(msgspec.Struct, frozen=True):
    error: str
    detail: str = ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_nats(parser)


def run(arguments: argparse.Namespace) -> int:
    url, tls = address(arguments)
    done = asyncio.run(_run(url, tls))
    print(
        f"The matcher with process id {done.to.pid} on {done.to.host} goes on after journal sequence {done.sequence}; "
        f"it took {done.seconds * 1000:.0f} ms."
    )
    return 0


async def _run(url: str, tls: NatsTls) -> HandedOver:
    connection = await connected(url, tls)
    try:
        return await hand_over(connection)
    finally:
        await close(connection)


async def hand_over(connection: Client) -> HandedOver:
    """Raises CommandError when it cannot be done; then the matcher serves as before."""
    try:
        answer = await connection.request(MATCHER_HANDOVER, b"", timeout=ANSWER_SECONDS)
    except NoRespondersError as error:
        raise CommandError("no matcher serves: there is nothing to hand over") from error
    except (NatsError, TimeoutError) as error:
        raise CommandError(
            "no answer: perhaps this user of NATS may not ask for it; `pricetime nats-users url operator` may"
        ) from error
    if is_failure(answer):
        problem = msgspec.json.decode(answer.data, type=_Problem)
        raise CommandError(f"not handed over: {problem.detail or problem.error}")
    return msgspec.json.decode(answer.data, type=HandedOver)
