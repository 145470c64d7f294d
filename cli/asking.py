"""How a command that asks something over NATS and ends reaches the exchange: it waits for nobody."""

import argparse
import os
from typing import Any

from nats.aio.client import Client
from nats.errors import Error as NatsError

from cli.errors import CommandError
from cli.runfile import running_exchange
from runtime.connection import dial, without_password
from runtime.service import Refused
from runtime.settings import PREFIX, SettingsError, load_settings
from runtime.tls import NatsTls, nats_tls, why_refused

_PAUSE_SECONDS: Any = 0.1  # nats-py says int, and sleeps a float as well


async def connected(url: str, tls: NatsTls) -> Client:
    """Raises CommandError, in one line, when nobody answers there, or not as they must."""
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


def address(arguments: argparse.Namespace) -> tuple[str, NatsTls]:
    """`--nats` as given, or by the environment (in a container), or of what runs on the folder `--data`."""
    try:
        settings = load_settings()
    except SettingsError as error:
        raise CommandError(str(error)) from error
    given: str | None = arguments.nats or _from_environment(settings.nats_url)
    if given:
        return given, nats_tls(settings)
    running = running_exchange(arguments.data)
    return running.nats, running.nats_tls


def _from_environment(url: str) -> str | None:
    return url if f"{PREFIX}NATS_URL" in os.environ else None
