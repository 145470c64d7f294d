"""What other services and people may ask over NATS: status, depth, market view. JSON both ways."""

import os
from collections.abc import Awaitable, Callable
from typing import TypeVar

import msgspec
from msgspec import Struct
from nats.aio.client import Client

from broadcaster.live import Live
from contracts.subjects import BROADCASTER_DEPTH, BROADCASTER_MARKET, BROADCASTER_STATUS
from contracts.views import DepthView, MarketView
from runtime.connection import respond
from runtime.micro import Failure, failure

MAX_LEVELS = 1000


class MarketRequest(Struct, frozen=True):
    symbol: str
    min_sequence: int = 0


class DepthRequest(MarketRequest, frozen=True):
    levels: int = 10


Request = TypeVar("Request", bound=MarketRequest)


async def answer_requests(live: Live, connection: Client, wait_seconds: float) -> None:
    """Answer from now on; a request that names a later commit waits for it, at most `wait_seconds`."""

    async def status(_: bytes) -> bytes:
        return msgspec.json.encode(
            {
                "sequence": live.position.sequence,
                "caught_up": live.caught_up.is_set(),
                "clients": live.clients,
                "conflated": live.conflated,
                "pid": os.getpid(),
            }
        )

    def depth(request: DepthRequest) -> DepthView:
        return live.depth(request.symbol, min(max(request.levels, 1), MAX_LEVELS))

    def market(request: MarketRequest) -> MarketView:
        return live.view(request.symbol)

    await respond(connection, BROADCASTER_STATUS, status)
    await respond(connection, BROADCASTER_DEPTH, _about_symbol(live, wait_seconds, DepthRequest, depth))
    await respond(connection, BROADCASTER_MARKET, _about_symbol(live, wait_seconds, MarketRequest, market))


def _about_symbol(
    live: Live, wait_seconds: float, kind: type[Request], answer: Callable[[Request], object]
) -> Callable[[bytes], Awaitable[bytes | Failure]]:
    decoder = msgspec.json.Decoder(kind)

    async def judge(payload: bytes) -> bytes | Failure:
        try:
            request = decoder.decode(payload)
        except msgspec.DecodeError as error:
            return failure(400, "malformed_request", detail=str(error))
        if not await live.reach(request.min_sequence, wait_seconds):
            return failure(503, "behind", sequence=live.position.sequence)
        if request.symbol not in live.market:
            return failure(404, "unknown_symbol")
        return msgspec.json.encode(answer(request))

    return judge
