"""`python -m runtime.healthcheck SERVICE`: exits 0 if the service does its work, 1 with a reason if it does not.

For container health checks. Each service is asked what only a working one can answer: over NATS, and the gateway over
HTTP whether orders can be placed.
"""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable

import httpx
from nats.errors import Error as NatsError

from contracts.subjects import BROADCASTER_STATUS, MATCHER_STATUS, RECORDER_STATUS
from runtime.connection import dial, inbox_of
from runtime.service import Refused
from runtime.settings import Settings, load_settings
from runtime.tls import nats_tls, pinned_context

_ANSWER_SECONDS = 3.0


class Unwell(Exception):
    """The message says what is missing."""


async def _ask(subject: str, settings: Settings) -> str:
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
            answer = json.loads((await connection.request(subject, b"{}", timeout=_ANSWER_SECONDS)).data)
        finally:
            await connection.close()
    except (NatsError, OSError, TimeoutError, Refused) as error:
        raise Unwell(f"no answer on {subject} ({error or type(error).__name__})") from error
    return f"at journal sequence {answer['sequence']}"


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
    "matcher": lambda settings: _ask(MATCHER_STATUS, settings),
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
