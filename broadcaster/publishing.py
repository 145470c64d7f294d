"""What NATS is told: subject and payload, and sending many of them."""

import logging
from collections.abc import Iterable
from itertools import groupby
from typing import NamedTuple

from nats.errors import OutboundBufferLimitError

from runtime.nats_client import NatsClient

log = logging.getLogger(__name__)


class Publication(NamedTuple):
    subject: str
    payload: bytes
    reply: str = ""


def _asks(publication: Publication) -> bool:
    return bool(publication.reply)


async def publish(connection: NatsClient, publications: Iterable[Publication]) -> None:
    """In order; those that ask for no answer, which nearly all are, leave together."""
    try:
        for asks, some in groupby(publications, key=_asks):
            if asks:
                for subject, payload, reply in some:
                    await connection.publish(subject, payload, reply)
            else:
                connection.post((subject, payload) for subject, payload, _ in some)
    except OutboundBufferLimitError:
        # The server is away and the buffer is full: subscribers see the jump in `sequence` and read the history.
        log.warning("nats: some messages were not published")
