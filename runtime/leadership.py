"""Whether what a stream's leader says is how things are, or how they were before it was replaced unawares.

Of a cluster's nodes one leads each stream and answers for it. One that is cut off from the others goes on leading for
up to twenty seconds, and after that answers without a leader, from what it knew, while the others have gone on; one
that was paused does so for a moment. It can store nothing in that time, and what it shows was stored; but what has come
since is missing from it: a journal read there ends too early, a revoked key is still good. Where that matters, ask here
(docs/decisions/0024).
"""

import asyncio

from nats.aio.client import Client
from nats.js.api import StreamInfo

from runtime.clock import steady

_RETRY_SECONDS = 0.1
_PATIENCE_SECONDS = 5.0
_ALONE_SECONDS = 5.0
_NANOSECONDS = 1_000_000_000


async def certain_stream_info(connection: Client, stream: str) -> StreamInfo:
    """What the leader says, once it is certain that it still led after this was called. Raises as stream_info does.

    It leads when most of the nodes have answered it since: those that follow another refuse it. They do so at least
    once a second, so this takes a second or two. A server without replicas of the stream is certain at once. One that
    has lost the others never is: that is a TimeoutError as well.
    """
    began = steady()
    certain: StreamInfo | None = None
    while True:
        asked = steady()
        info = await connection.jsm().stream_info(stream)
        if not _was_heard_since(info, asked - began):
            certain = None
        elif not _followers(info) or (certain is not None and _leader(certain) == _leader(info)):
            return info
        else:
            certain = info  # it could have been just about to read that it is refused: then it no longer answers
        if steady() - began > _PATIENCE_SECONDS:
            raise TimeoutError(f"whoever answers for stream {stream} has lost the other nodes")
        await asyncio.sleep(_RETRY_SECONDS)


def is_followed(info: StreamInfo) -> bool:
    """Whether most of the nodes have lately answered the leader that said this. They do so every second."""
    return _was_heard_since(info, _ALONE_SECONDS)


def _was_heard_since(info: StreamInfo, seconds: float) -> bool:
    """Whether more than half of the nodes, the leader included, have answered it in these last seconds."""
    followers = _followers(info)
    if followers and not _leader(info):
        return False
    heard = sum(1 for active in followers if 0 < active < seconds * _NANOSECONDS)
    return heard + 1 > (len(followers) + 1) / 2


def _followers(info: StreamInfo) -> list[int]:
    """For each how many nanoseconds ago it last answered; 0 if it never has."""
    if info.cluster is None:
        return []
    return [each.active or 0 for each in info.cluster.replicas or []]


def _leader(info: StreamInfo) -> str | None:
    return None if info.cluster is None else info.cluster.leader
