"""An exchange's streams whose every word is chosen by a test, and the words."""

import asyncio
import http
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.http11 import Request, Response

Json = dict[str, Any]
SECONDS = 60


class Peer:
    """One connection, as the exchange sees it."""

    def __init__(self, connection: ServerConnection) -> None:
        self._connection = connection

    async def hears(self) -> Json:
        heard: Json = json.loads(await asyncio.wait_for(self._connection.recv(), SECONDS))
        return heard

    async def says(self, *messages: Json) -> None:
        for each in messages:
            await self._connection.send(json.dumps(each))

    async def accepts(self) -> Json:
        """Hears a subscription, says yes, and tells what was wanted."""
        asked = await self.hears()
        assert asked.pop("op") == "subscribe"
        await self.says({"type": "subscribed", "id": asked["id"], "sequence": 0, "subscription": {}})
        return asked

    async def hangs_up(self) -> None:
        await self._connection.close()


class Played:
    """A server; `joined` gives its connections, in order."""

    def __init__(self) -> None:
        self._peers: asyncio.Queue[Peer] = asyncio.Queue()
        self.refusals: list[tuple[http.HTTPStatus, Json]] = []
        """How the next handshakes are answered, before one is let in."""
        self.headers: list[Json] = []
        self.server: Server

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.server.sockets[0].getsockname()[1]}/ws"

    async def joined(self) -> Peer:
        return await asyncio.wait_for(self._peers.get(), SECONDS)

    async def on_connection(self, connection: ServerConnection) -> None:
        await self._peers.put(Peer(connection))
        await connection.wait_closed()

    def on_request(self, connection: ServerConnection, request: Request) -> Response | None:
        self.headers.append(dict(request.headers.raw_items()))
        if not self.refusals:
            return None
        status, problem = self.refusals.pop(0)
        return connection.respond(status, json.dumps(problem))


@asynccontextmanager
async def playing_exchange() -> AsyncIterator[Played]:
    playing = Played()
    async with serve(playing.on_connection, "127.0.0.1", 0, process_request=playing.on_request) as server:
        playing.server = server
        yield playing


def trade(sequence: int, symbol: str = "A") -> Json:
    return {
        "trade_id": sequence, "symbol": symbol, "price": "1.50", "quantity": "2", "taker_side": "buy",
        "maker_order_id": 1, "taker_order_id": 2, "executed_at": "2026-01-01T00:00:00.000000Z", "sequence": sequence,
    }  # fmt: skip


def traded(sequence: int, symbol: str = "A") -> Json:
    return {"channel": "trades", "type": "update", "trade": trade(sequence, symbol)}


def snapshot(last: int, *bids: tuple[str, str], symbol: str = "A") -> Json:
    return {
        "channel": "book", "type": "snapshot", "symbol": symbol, "levels": None, "last_sequence": last, "bids": bids,
        "asks": [],
    }  # fmt: skip


def changed(first: int, *bids: tuple[str, str], symbol: str = "A") -> Json:
    return {
        "channel": "book", "type": "change", "symbol": symbol, "levels": None, "first_sequence": first,
        "last_sequence": first, "bids": bids, "asks": [],
    }  # fmt: skip


def order(order_id: int, account: str = "anna") -> Json:
    return {
        "order_id": order_id, "client_order_id": None, "account": account, "symbol": "A", "side": "buy",
        "type": "limit", "time_in_force": "GTC", "post_only": False, "price": "1.00", "quantity": "2",
        "filled_quantity": "0", "remaining_quantity": "2", "average_price": None, "status": "open", "reason": None,
        "created_at": "2026-01-01T00:00:00Z", "updated_at": "2026-01-01T00:00:00Z", "sequence": 3,
    }  # fmt: skip


def orders(sequence: int, *open_orders: Json, more: bool = False) -> Json:
    return {
        "channel": "orders", "type": "snapshot", "sequence": sequence, "accounts": ["anna"], "orders": open_orders,
        "more": more,
    }  # fmt: skip


def happened(sequence: int, index: int) -> Json:
    return {
        "channel": "orders", "type": "update", "sequence": sequence, "index": index, "event": "accepted",
        "order": order(sequence), "trade": None, "priority_kept": None,
    }  # fmt: skip


def heartbeat(sequence: int) -> Json:
    return {"type": "heartbeat", "time": "2026-01-01T00:00:00Z", "sequence": sequence}


def problem(code: str, status: int, **more: Any) -> Json:
    return {
        "type": "error",
        "problem": {"type": "", "title": "", "status": status, "detail": "No.", "code": code},
    } | more


def answered(asked: Json, kind: str, **fields: Any) -> Json:
    """To a request about orders: `order`, or what else there is."""
    return {"id": asked["id"], "type": kind, "sequence": 7, "replayed": False, **fields}
