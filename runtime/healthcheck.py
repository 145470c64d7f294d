"""`python -m runtime.healthcheck SERVICE`: exits 0 if the service does its work, 1 with a reason if it does not.

For container health checks. Each service is asked what only a working one can answer: over NATS, and the gateway over
HTTP whether orders can be placed.
"""

import asyncio
import json
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import httpx
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from contracts.subjects import BROADCASTER_STATUS, MATCHER_STANDBY, MATCHER_STATUS, RECORDER_STATUS
from runtime.connection import dial, inbox_of
from runtime.service import Refused
from runtime.settings import Settings, load_settings
from runtime.tls import nats_tls, pinned_context

_ANSWER_SECONDS = 3.0


class Unwell(Exception):
    """The message says what is missing."""


async def _ask(subject: str, settings: Settings) -> str:
    async with _connected(subject, settings) as connection:
        answer = json.loads((await connection.request(subject, b"{}", timeout=_ANSWER_SECONDS)).data)
    return f"at journal sequence {answer['sequence']}"


async def _ask_matcher(settings: Settings) -> str:
    """The one on this host, which may serve or stand by: of several matchers another one may answer."""
    found: asyncio.Queue[str] = asyncio.Queue()

    async def on_answer(message: Msg) -> None:
        answer = json.loads(message.data or b"{}")
        if answer.get("host") == socket.gethostname():
            found.put_nowait(f"at journal sequence {answer['sequence']}")

    async with _connected(MATCHER_STATUS, settings) as connection:
        inbox = connection.new_inbox()
        await connection.subscribe(inbox, cb=on_answer)
        for subject in (MATCHER_STATUS, MATCHER_STANDBY):
            await connection.publish(subject, b"{}", reply=inbox)
        return await asyncio.wait_for(found.get(), _ANSWER_SECONDS)


@asynccontextmanager
async def _connected(subject: str, settings: Settings) -> AsyncIterator[Client]:
    """To ask on `subject`. Raises Unwell when that is not answered."""
    try:
        connection = await dial(
            settings.nats_url,
            nats_tls(settings),
            max_reconnect_attempts=1,
            reconnect_time_wait=0.1,
            connect_timeout=2,
            inbox_prefix=inbox_of(settings.nats_url) or "_INBOX",
        )
        try:
            yield connection
        finally:
            await connection.close()
    except (NatsError, OSError, TimeoutError, Refused) as error:
        raise Unwell(f"no answer on {subject} ({error or type(error).__name__})") from error


async def _ask_gateway(settings: Settings) -> str:
    url = f"{'https' if settings.tls_cert else 'http'}://127.0.0.1:{settings.http_port}/health/ready"
    try:
        verify = pinned_context(settings.tls_cert) if settings.tls_cert else True
        async with httpx.AsyncClient(trust_env=False, timeout=_ANSWER_SECONDS, verify=verify) as client:
            answer = await client.get(url)
    except (httpx.HTTPError, Refused) as error:
        raise Unwell(f"no answer from {url} ({error or type(error).__name__})") from error
    if answer.status_code != 200:
        raise Unwell(f"{url}: {answer.status_code} {answer.text[:300]}")
    return "orders can be placed"


CHECKS: dict[str, Callable[[Settings], Awaitable[str]]] = {
    "matcher": _ask_matcher,
    "recorder": lambda settings: _ask(RECORDER_STATUS, settings),
    "broadcaster": lambda settings: _ask(BROADCASTER_STATUS, settings),
    "gateway": _ask_gateway,
}


async def check(service: str, settings: Settings) -> str:
    """How the service is doing, in words. Raises Unwell."""
    return await CHECKS[service](settings)


def main() -> int:
    if len(sys.argv) != 2 or sys.argv[1] not in CHECKS:
        print(f"usage: python -m runtime.healthcheck {'|'.join(CHECKS)}", file=sys.stderr)
        return 2
    try:
        print(asyncio.run(check(sys.argv[1], load_settings())))
    except Unwell as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
