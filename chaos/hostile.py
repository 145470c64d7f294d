"""Garbage for everything that listens, and clients that never read. Nobody may fall over, and nothing may be done.

Nothing sent here is a valid command: what is refused leaves no trace, so the checker's rule that nothing is in the
journal that nobody asked for judges it.
"""

import asyncio
import json
import random
import signal
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

import httpx
import msgspec
import websockets
from nats.errors import Error as NatsError

from chaos.exchange import Exchange
from chaos.kinds import kind
from chaos.run import NotInjected, Run
from contracts import subjects

_GARBAGE = "garbage and hostile messages"
_DEAF = "a client that never reads; subscriber overflow"
_BURST = 120
_SERVICES = ("orders.", "matcher.", "recorder.", "broadcaster.")
_NOT_ASKED = (".position", ".taken_over", ".handover")
"""Said by services, not asked; and a hand-over is done whatever the message says."""
_REQUESTS = tuple(
    value
    for name, value in vars(subjects).items()
    if name.isupper() and str(value).startswith(_SERVICES) and not str(value).endswith(_NOT_ASKED)
)
_PATHS = ("/orders", "/orders/batch", "/orders/1", "/orders/1/replace", "/accounts/x/limits", "/instruments/X")
_EVERYTHING = ({"channel": "trades", "after": 0}, {"channel": "orders"}, {"channel": "book", "symbol": "BTC-USD"})
_ELSEWHERE = ("127.0.0.2", 0)
"""Connections for each address are limited: whoever is hostile has used up only their own."""
_UNFINISHED = b"POST /orders HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
_FIELDS = ("side", "price", "quantity", "symbol", "account", "type", "order_id", "items", "op", "channel")


def json_garbage(chance: random.Random) -> bytes:
    """Never a valid body of any request: it is no JSON object, or has a field that nobody knows."""
    match chance.randrange(7):
        case 0:
            return chance.randbytes(chance.randrange(200))
        case 1:
            return b"[" * chance.choice([10, 5_000, 100_000])
        case 2:
            return json.dumps({"side": "buy", "price": "1", "quantity": "1"}).encode()[:-1]
        case 3:
            return b'{"price": 1e999999999, "quantity": -0.0, "side": "\\ud800", "garbage": 1}'
        case 4:
            return json.dumps({"garbage": "x" * chance.choice([10, 100_000, 2_000_000])}).encode()
        case 5:
            return chance.choice([b"", b"null", b"0", b'""', b"[]", b"\xff\xfe", b"\x00" * 50])
    fields = {name: _any_value(chance) for name in chance.sample(_FIELDS, 4)}
    return json.dumps(fields | {"garbage": 1}).encode()


def _any_value(chance: random.Random) -> Any:
    return chance.choice([None, True, -1, 2**70, 1e308, "", "NaN", "\u0000", "9" * 400, [], {}, [[]], {"a": {}}])


def msgpack_garbage(chance: random.Random) -> bytes:
    """Never a tuple of commands."""
    match chance.randrange(6):
        case 0:
            return b"\xc1" + chance.randbytes(chance.randrange(100))
        case 1:
            return b"\xdd\xff\xff\xff\xff"
        case 2:
            return b"\x91" * 50_000
        case 3:
            return msgspec.msgpack.encode([["place", "BTC-USD", "buy", "limit", -1.5, "x"]])
        case 4:
            return msgspec.msgpack.encode([["cancel", 2**64 - 1, "everybody"]] * 600)
    return msgspec.msgpack.encode([[_any_text(chance), chance.randrange(2**63)]])


def _any_text(chance: random.Random) -> str:
    return "".join(chance.choice("abc \u0000\U0001f4a5") for _ in range(chance.randrange(1, 30)))


def protocol_garbage(chance: random.Random) -> bytes:
    return chance.choice(
        [
            b"GET / HTTP/1.1\r\nHost: " + b"a" * chance.choice([10, 100_000]) + b"\r\n",
            b"POST /orders HTTP/1.1\r\nContent-Length: -5\r\nContent-Type: application/json\r\n\r\n{}",
            b"POST /orders HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFF\r\n",
            b"PUB journal 5\r\nhello\r\n" * 20,
            b"CONNECT {" + b'"a":' * 5_000,
            b"SUB > 1\r\nPUB orders.submit 99999999999\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc" + chance.randbytes(500),
            chance.randbytes(3_000),
        ]
    )


async def _unharmed(run: Run, send: Callable[[], Any]) -> None:
    """The same processes as before must be there afterwards."""
    before = run.exchange.pids
    await send()
    await asyncio.sleep(0.2)
    after = run.exchange.pids
    if gone := [part for part, pid in before.items() if after.get(part) != pid]:
        run.broken.append(f"garbage ended {', '.join(gone)}")


@kind("garbage-over-rest", _GARBAGE, 12)
async def garbage_over_rest(run: Run) -> str:
    async def one() -> None:
        method, path = run.chance.choice(["POST", "PUT", "DELETE", "PATCH", "GET"]), run.chance.choice(_PATHS)
        if method in ("DELETE", "GET"):
            path = f"/orders/{_any_text(run.chance)!r}"
        headers = {"Content-Type": run.chance.choice(["application/json", "text/plain", "application/json; charset=x"])}
        with suppress(httpx.HTTPError, httpx.InvalidURL):
            url = f"{run.exchange.http}{path}"
            answer = await run.http.request(method, url, content=json_garbage(run.chance), headers=headers)
            if answer.status_code < 400 or answer.status_code >= 500:
                run.broken.append(f"garbage: {method} {path} was answered {answer.status_code} {answer.text[:200]}")

    async def burst() -> None:
        await asyncio.gather(*(one() for _ in range(_BURST)))

    await _unharmed(run, burst)
    return f"{_BURST} requests"


@kind("garbage-over-nats", _GARBAGE, 12)
async def garbage_over_nats(run: Run) -> str:
    """On every subject that anybody may ask on."""

    async def one(subject: str) -> None:
        content = msgpack_garbage(run.chance) if subject == subjects.ORDERS_SUBMIT else json_garbage(run.chance)
        with suppress(NatsError, TimeoutError):
            await run.connection.request(subject, content[:1_000_000], timeout=3)

    async def burst() -> None:
        await asyncio.gather(*(one(run.chance.choice(_REQUESTS)) for _ in range(_BURST)))

    await _unharmed(run, burst)
    return f"{_BURST} messages on {len(_REQUESTS)} subjects"


@kind("garbage-over-websocket", _GARBAGE, 12)
async def garbage_over_websocket(run: Run) -> str:
    async def one() -> None:
        with suppress(OSError, TimeoutError, websockets.WebSocketException):
            async with websockets.connect(f"{run.exchange.ws}/ws", proxy=None, open_timeout=5, close_timeout=1) as ws:
                for _ in range(20):
                    garbage = json_garbage(run.chance)[:900_000]
                    await ws.send(garbage if run.chance.random() < 0.3 else garbage.decode(errors="replace"))

    async def burst() -> None:
        await asyncio.gather(*(one() for _ in range(6)))

    await _unharmed(run, burst)
    return "120 frames"


@kind("garbage-on-sockets", _GARBAGE, 12)
async def garbage_on_sockets(run: Run) -> str:
    """What is not even the protocol, and connections that end in the middle of it."""
    ports = (run.exchange.http_port, run.exchange.ws_port, run.exchange.nats_port)

    async def one(port: int) -> None:
        with suppress(OSError, TimeoutError):
            reader, writer = await asyncio.wait_for(
                asyncio.open_connection("127.0.0.1", port, local_addr=_ELSEWHERE), 3
            )
            with suppress(OSError):
                writer.write(protocol_garbage(run.chance))
                await asyncio.wait_for(writer.drain(), 2)
                with suppress(TimeoutError):
                    await asyncio.wait_for(reader.read(1000), 0.3)
            writer.transport.abort()

    async def burst() -> None:
        await asyncio.gather(*(one(run.chance.choice(ports)) for _ in range(60)))

    await _unharmed(run, burst)
    return "60 connections"


# Who does not read


@asynccontextmanager
async def _deaf_websockets(run: Run, count: int) -> AsyncIterator[None]:
    """They subscribe to everything from the beginning, and then never read."""
    async with AsyncExitStack() as stack:
        for _ in range(count):
            raw = socket.create_connection(("127.0.0.1", run.exchange.ws_port), 5, _ELSEWHERE)
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            raw.setblocking(False)
            with suppress(OSError, TimeoutError, websockets.WebSocketException):
                ws = await websockets.connect(
                    f"{run.exchange.ws}/ws", sock=raw, proxy=None, max_queue=1, open_timeout=5, close_timeout=1
                )
                stack.callback(ws.transport.abort)
                for channel in _EVERYTHING:
                    await ws.send(json.dumps({"op": "subscribe", "id": 1, **channel}))
                ws.transport.pause_reading()
        yield


@kind("deaf-websockets", _DEAF, 10)
async def deaf_websockets(run: Run) -> str:
    async with _deaf_websockets(run, 20):
        await _goes_on(run, "20 deaf WebSocket clients")
        await asyncio.sleep(run.chance.uniform(1.0, 3.0))
    return "20 of them"


@kind("deaf-nats-subscribers", _DEAF, 8)
async def deaf_nats_subscribers(run: Run) -> str:
    """They subscribe to all market data over NATS and never read."""
    writers = []
    try:
        for _ in range(20):
            reader, writer = await asyncio.wait_for(
                asyncio.open_connection("127.0.0.1", run.exchange.nats_port, local_addr=_ELSEWHERE), 5
            )
            await asyncio.wait_for(reader.readline(), 5)
            writer.write(b'CONNECT {"verbose":false}\r\nSUB market.> 1\r\n')
            reader._transport.pause_reading()  # type: ignore[attr-defined]
            writers.append(writer)
        await _goes_on(run, "20 deaf NATS subscribers")
        await asyncio.sleep(run.chance.uniform(1.0, 3.0))
    except (OSError, TimeoutError) as error:
        raise NotInjected(f"NATS takes no connection: {error}") from None
    finally:
        for writer in writers:
            writer.transport.abort()
    return "20 of them"


@kind("slow-requests", _DEAF, 8)
async def slow_requests(run: Run) -> str:
    """A hundred requests over REST that never end."""
    writers = []
    try:
        for _ in range(100):
            _, writer = await asyncio.wait_for(
                asyncio.open_connection("127.0.0.1", run.exchange.http_port, local_addr=_ELSEWHERE), 5
            )
            writer.write(_UNFINISHED)
            writers.append(writer)
        await _goes_on(run, "100 requests that do not end")
        await asyncio.sleep(run.chance.uniform(1.0, 2.0))
    except (OSError, TimeoutError) as error:
        raise NotInjected(f"the gateway takes no connection: {error}") from None
    finally:
        for writer in writers:
            writer.transport.abort()
    return "100 of them"


async def _goes_on(run: Run, what: str) -> None:
    began = asyncio.get_running_loop().time()
    await run.until_acknowledged()
    took = asyncio.get_running_loop().time() - began
    if took > 5.0:
        run.broken.append(f"recovery: with {what} an order took {took:.1f} s")


@kind("subscriber-overflow", _DEAF, 10)
async def subscriber_overflow(run: Run) -> str:
    """A service whose NATS client may hold only a few messages: what is more is dropped inside it."""
    service, few = run.chance.choice(["recorder", "broadcaster", "gateway"]), run.chance.choice([2, 5, 20])
    limit = run.exchange.work / f"pending-{service}"
    limit.write_text(str(few))
    try:
        await _restart(run.exchange, service)
        await asyncio.sleep(run.chance.uniform(1.5, 3.0))
    finally:
        limit.unlink()
        await _restart(run.exchange, service)
    return f"{service} held {few} messages at most"


async def _restart(exchange: Exchange, service: str) -> None:
    pid = exchange.signal(service, signal.SIGKILL)
    if pid is None:
        raise NotInjected(f"{service} is just being started")
    await exchange.until_other(service, pid)
    await exchange.until_ready()
