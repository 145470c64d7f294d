"""What NATS is told: subject and payload, and sending many of them."""

import logging
from collections.abc import Iterable
from typing import NamedTuple

from nats.aio.client import Client
from nats.errors import OutboundBufferLimitError

log = logging.getLogger(__name__)


class Publication(NamedTuple):
    subject: str
    payload: bytes
    reply: str = ""


async def publish(connection: Client, publications: Iterable[Publication]) -> None:
    try:
        for subject, payload, reply in publications:
            await connection.publish(subject, payload, reply)
    except OutboundBufferLimitError:
        # The server is away and the buffer is full: subscribers see the jump in `sequence` and read the history.
        log.warning("nats: some messages were not published")
