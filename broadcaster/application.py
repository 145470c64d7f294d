"""What is on the WebSocket port: /ws, /ws/trades, /ws/orderbook, health and a description. A plain ASGI application.

Three sockets and a few pages need no framework, and everything after the handshake bypasses ASGI anyway
(broadcaster/connection.py). A client's mistake is told as a last JSON message and a close code, which a browser can
see, unlike the body of a refused handshake.
"""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from functools import cached_property
from importlib import metadata
from typing import Annotated, Any, TypeVar
from urllib.parse import parse_qsl

import msgspec
from msgspec import Meta, Struct

from broadcaster.access import Doorkeeper, at_handshake
from broadcaster.asyncapi import document
from broadcaster.connection import STATE, Connection
from broadcaster.feed import Farewell, Gap, TradeWatcher, frame
from broadcaster.live import Live
from broadcaster.messages import ErrorMessage, encode
from broadcaster.session import Counter, Session
from contracts.keys import Access
from entry.origins import Origins
from entry.problems import Declined, view
from runtime.server import address_of

log = logging.getLogger(__name__)

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Refresh = Callable[[], Awaitable[None]]

SESSIONS = "/ws"
KEY_REFUSED = 4001
INVALID_PARAMETER, UNKNOWN_SYMBOL, GAP, AHEAD = 4400, 4404, 4410, 4416
START_SECONDS = 3.0
"""How long a client that comes while the broadcaster still catches up is kept waiting."""


class TradesQuery(Struct, frozen=True, forbid_unknown_fields=True):
    symbol: str | None = None
    after: Annotated[int, Meta(ge=0)] | None = None
    """The last trade that the client has; the next ones are sent first."""


class OrderbookQuery(Struct, frozen=True, forbid_unknown_fields=True):
    symbol: str | None = None
    levels: Annotated[int, Meta(ge=1, le=1000)] = 5


class SessionQuery(Struct, frozen=True, forbid_unknown_fields=True):
    key: str | None = None


Query = TypeVar("Query", TradesQuery, OrderbookQuery, SessionQuery)


class Dismissed(Exception):
    """This client cannot be served."""

    def __init__(self, farewell: Farewell) -> None:
        super().__init__(farewell.detail)
        self.farewell = farewell


class Application:
    """`refresh` returns when everything committed before the call is folded, or after a bounded wait."""

    def __init__(self, live: Live, default_symbol: str, refresh: Refresh, origins: Origins | None = None) -> None:
        self._origins = origins or Origins()
        self._live = live
        self._default_symbol = default_symbol
        self._refresh = refresh
        self._counter: Counter | None = None
        self._sockets = {SESSIONS: self._session, "/ws/trades": self._trades, "/ws/orderbook": self._orderbook}

    def open_counter(self, counter: Counter) -> None:
        """From now on /ws is served: it is known which keys there are."""
        self._counter = counter

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await _respond(send, "http", *self._page(scope["path"]))
        elif (serve := self._sockets.get(scope["path"])) is None:
            detail = "There are /ws, /ws/trades and /ws/orderbook."
            await _respond(send, "websocket.http", 404, _problem("not_found", detail))
        elif (refused := self._foreign(scope)) is not None:
            problem = refused.problem
            await _respond(send, "websocket.http", problem.http_status, _problem(problem.code, problem.detail))
        elif not await self._live.reach(0, START_SECONDS) or (serve == self._session and self._counter is None):
            await _respond(send, "websocket.http", 503, _problem("starting", "Still reading the journal; try again."))
        else:
            await self._serve(serve, scope, receive, send)

    def _foreign(self, scope: Scope) -> Declined | None:
        """Why this page of a browser may not connect. Nobody may who is not known to need a key."""
        try:
            self._origins.check_socket(scope["headers"], self._counter is None or self._counter.doorkeeper.is_open)
        except Declined as error:
            return error
        return None

    def _page(self, path: str) -> tuple[int, bytes]:
        if path == "/health/live":
            return 200, b'{"status":"live"}'
        if path == "/health/ready":
            ready = self._live.caught_up.is_set()
            return (200, b'{"status":"ready"}') if ready else (503, b'{"status":"starting"}')
        if path == "/asyncapi.json":
            return 200, self._document
        if path in self._sockets:
            return 426, _problem("upgrade_required", "This is a WebSocket: connect with ws://.")
        return 404, _problem("not_found", _PLACES)

    async def _serve(
        self, serve: Callable[[Connection, Scope, Receive], Awaitable[None]], scope: Scope, receive: Receive, send: Send
    ) -> None:
        await self._refresh()
        await send({"type": "websocket.accept"})  # it joins in the same turn: nothing after the handshake is missed
        connection: Connection = scope["state"][STATE]
        try:
            await serve(connection, scope, receive)
        except Dismissed as dismissed:
            connection.goodbye(dismissed.farewell)
            await _until_gone(receive)

    @cached_property
    def _document(self) -> bytes:
        return msgspec.json.encode(document(metadata.version("pricetime")))

    async def _session(self, connection: Connection, scope: Scope, receive: Receive) -> None:
        assert self._counter is not None
        counter, access = self._counter, self._admitted(scope, self._counter.doorkeeper)
        session = Session(connection, self._live, counter, access)
        self._live.sessions.add(session)
        session.check_access()  # the key may have been revoked since it was looked up
        try:
            async for message in _received(receive):
                await session.handle(message)
        except Exception:
            log.exception("a client of /ws could not be served", extra={"client": address_of(connection)})
            connection.goodbye(Farewell(1011, "internal_error"))
        finally:
            self._live.sessions.discard(session)
            session.close()

    @staticmethod
    def _admitted(scope: Scope, doorkeeper: Doorkeeper) -> Access:
        query = _query(scope, SessionQuery)
        target = scope["raw_path"] + (b"?" + scope["query_string"] if scope["query_string"] else b"")
        try:
            return doorkeeper.admit(at_handshake(dict(scope["headers"]), query.key, target))
        except Declined as error:
            words = frame(encode(ErrorMessage(problem=view(error.problem))))
            raise Dismissed(Farewell(KEY_REFUSED, error.problem.code, last_words=words)) from error

    async def _trades(self, connection: Connection, scope: Scope, receive: Receive) -> None:
        query = _query(scope, TradesQuery)
        if query.symbol is not None:
            self._check_listed(query.symbol)
        watcher = self._join_trades(connection, query)
        try:
            await _until_gone(receive)
        finally:
            self._live.trades.leave(watcher)

    def _join_trades(self, connection: Connection, query: TradesQuery) -> TradeWatcher:
        trades = self._live.trades
        if query.after is not None and query.after > trades.last_id:
            detail = f"There is no trade {query.after} yet: the last one is {trades.last_id}."
            raise Dismissed(Farewell(AHEAD, "ahead", detail))
        try:
            return trades.join(connection, query.symbol, query.after)
        except Gap as gap:
            detail = f"The trades from {gap.first} on are at hand. Read the ones before with GET /trades."
            raise Dismissed(Farewell(GAP, "gap", detail)) from gap

    async def _orderbook(self, connection: Connection, scope: Scope, receive: Receive) -> None:
        query = _query(scope, OrderbookQuery)
        symbol = self._default_symbol if query.symbol is None else query.symbol
        self._check_listed(symbol)
        watcher = self._live.depths.join(connection, symbol, query.levels)
        try:
            await _until_gone(receive)
        finally:
            self._live.depths.leave(watcher)

    def _check_listed(self, symbol: str) -> None:
        if symbol not in self._live.market:
            detail = f"There is no instrument {symbol[:64]!r}. GET /instruments lists them."
            raise Dismissed(Farewell(UNKNOWN_SYMBOL, "unknown_symbol", detail))


_PLACES = "There are /ws, /ws/trades, /ws/orderbook, /asyncapi.json, /health/live and /health/ready."


def _query(scope: Scope, kind: type[Query]) -> Query:
    parameters = dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True))
    try:
        return msgspec.convert(parameters, kind, strict=False)
    except msgspec.ValidationError as error:
        raise Dismissed(Farewell(INVALID_PARAMETER, "invalid_parameter", f"{error}.")) from error


async def _received(receive: Receive) -> AsyncIterator[str | bytes]:
    """What the client says, until it is gone."""
    while (message := await receive())["type"] != "websocket.disconnect":
        if message["type"] == "websocket.receive":
            text = message.get("text")
            yield message["bytes"] if text is None else text


async def _until_gone(receive: Receive) -> None:
    """Return when the client is gone. What it says meanwhile is not listened to."""
    while (await receive())["type"] != "websocket.disconnect":
        pass


def _problem(code: str, detail: str) -> bytes:
    return msgspec.json.encode({"type": "error", "code": code, "detail": detail})


async def _respond(send: Send, kind: str, status: int, body: bytes) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": f"{kind}.response.start", "status": status, "headers": headers})
    await send({"type": f"{kind}.response.body", "body": body})
