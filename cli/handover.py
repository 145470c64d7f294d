"""`pricetime handover`: the matcher finishes what it has, and the one that stands by goes on from exactly there.

Nothing is lost and nothing is refused; orders that come meanwhile wait for some hundredths of a second.
"""

import argparse
import asyncio
import os
from pathlib import Path
from typing import Any

import msgspec
from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.errors import NoRespondersError

from cli.errors import CommandError
from cli.runfile import read_run_file
from contracts.subjects import MATCHER_HANDOVER
from runtime.connection import close, dial, without_password
from runtime.service import Refused
from runtime.settings import PREFIX, SettingsError, load_settings
from runtime.tls import NatsTls, nats_tls, why_refused

ANSWER_SECONDS = 15.0
_PAUSE_SECONDS: Any = 0.1  # nats-py says int, and sleeps a float as well


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
    parser.add_argument(
        "--data", type=Path, default=Path(".pricetime"), metavar="DIR", help="folder of the running exchange"
    )
    parser.add_argument("--nats", metavar="URL", help=f"its NATS address instead, as operator (or {PREFIX}NATS_URL)")


def run(arguments: argparse.Namespace) -> int:
    url, tls = address(arguments)
    done = asyncio.run(_run(url, tls))
    print(
        f"The matcher with process id {done.to.pid} on {done.to.host} goes on after journal sequence {done.sequence}; "
        f"it took {done.seconds * 1000:.0f} ms."
    )
    return 0


def address(arguments: argparse.Namespace) -> tuple[str, NatsTls]:
    """As given, or by the environment (in a container), or of the exchange that runs on the folder."""
    try:
        settings = load_settings()
    except SettingsError as error:
        raise CommandError(str(error)) from error
    given: str | None = arguments.nats or _from_environment(settings.nats_url)
    if given:
        return given, nats_tls(settings)
    running = read_run_file(arguments.data)
    return running.nats, running.nats_tls


def _from_environment(url: str) -> str | None:
    return url if f"{PREFIX}NATS_URL" in os.environ else None


async def _run(url: str, tls: NatsTls) -> HandedOver:
    connection = await connected(url, tls)
    try:
        return await hand_over(connection)
    finally:
        await close(connection)


async def connected(url: str, tls: NatsTls) -> Client:
    try:
        return await dial(
            url,
            tls,
            name="pricetime",
            max_reconnect_attempts=1,  # without it, or with allow_reconnect=False, nats-py tries for minutes
            reconnect_time_wait=_PAUSE_SECONDS,
            connect_timeout=3,
        )
    except (NatsError, OSError, TimeoutError, ValueError, Refused) as error:
        why = why_refused(error) or error or type(error).__name__
        raise CommandError(f"no exchange answers at {without_password(url)} ({why})") from error


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
    if answer.headers and "Nats-Service-Error" in answer.headers:
        problem = msgspec.json.decode(answer.data, type=_Problem)
        raise CommandError(f"not handed over: {problem.detail or problem.error}")
    return msgspec.json.decode(answer.data, type=HandedOver)
