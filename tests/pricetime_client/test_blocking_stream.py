"""The stream of programs that block, against a server whose every word is chosen.

What it shares with the other one, the switchboard, is tried in test_stream.py; here is what waiting in one thread adds.
"""

import asyncio
import http
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import pytest

from pricetime_client import (
    BlockingStream,
    BlockingSubscription,
    Exchange,
    NoAnswer,
    Refusal,
    blocking_stream,
    mailbox,
    switchboard,
)
from pricetime_client.asking import Conversation
from pricetime_client.calls import Calls
from tests.support.played_streams import (
    SECONDS,
    Played,
    answered,
    changed,
    heartbeat,
    order,
    playing_exchange,
    problem,
    snapshot,
    traded,
)

T = TypeVar("T")


@pytest.fixture
async def played() -> AsyncIterator[Played]:
    async with playing_exchange() as playing:
        yield playing


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """It comes back at once, and there is no history to be asked."""

    def nothing(_: Calls) -> Conversation[None]:
        yield from ()

    monkeypatch.setattr(switchboard, "_FIRST_PAUSE_SECONDS", 0.001)
    monkeypatch.setattr(Calls, "last_trade", nothing)


@contextmanager
def opened(played: Played, patience: float = SECONDS, timeout: float = SECONDS) -> Iterator[BlockingStream]:
    url = played.url
    with (
        Exchange("http://127.0.0.1:1", ws_url=url, account="anna", patience=patience, timeout=timeout) as exchange,
        exchange.stream() as stream,
    ):
        yield stream


def beside(work: Callable[[], T]) -> asyncio.Task[T]:
    """In a thread, so that the exchange can be played in this one."""
    return asyncio.create_task(asyncio.to_thread(work))


def taken(subscription: BlockingSubscription[T]) -> T:
    """The next message, or an error after a while: a thread cannot be canceled."""
    message = subscription.get(SECONDS)
    assert message is not None
    return message


async def within(task: asyncio.Task[T]) -> T:
    return await asyncio.wait_for(task, SECONDS)


async def test_messages_come_in_order_and_are_waited_for(played: Played) -> None:
    def program() -> list[int]:
        with opened(played) as stream:
            trades = stream.subscribe("trades", symbol="A", after=0)
            return [taken(trades).trade.sequence for _ in range(3)]

    running = beside(program)
    peer = await played.joined()
    await peer.accepts()
    await peer.says(traded(1), {"type": "news of a later version"}, heartbeat(1), traded(2))
    await peer.hangs_up()
    peer = await played.joined()
    assert (await peer.accepts())["after"] == 2
    await peer.says(traded(3))
    assert await within(running) == [1, 2, 3]


async def test_one_can_wait_for_so_long_and_no_longer(played: Played) -> None:
    spoken = threading.Event()

    def program() -> list[Any]:
        with opened(played) as stream:
            trades = stream.subscribe("trades", after=0)
            found = [trades.get(timeout=0), trades.get(timeout=0.01)]
            spoken.set()
            return [*found, trades.get(timeout=SECONDS)]

    running = beside(program)
    peer = await played.joined()
    await peer.accepts()
    await asyncio.to_thread(spoken.wait, SECONDS)
    await peer.says(traded(1))
    first, second, third = await within(running)
    assert (first, second, third.trade.sequence) == (None, None, 1)


async def test_a_book_is_as_it_is_when_one_looks(played: Played) -> None:
    said, seen = threading.Event(), threading.Event()

    def program() -> list[Any]:
        with opened(played) as stream:
            feed = stream.book("A")
            found: list[Any] = [feed.book.best_bid, feed.book.state]
            seen.set()
            said.wait(SECONDS)
            while (book := feed.get(SECONDS)) is not None and book.last_sequence < 7:
                pass
            found += [feed.book.best_bid, feed.get(timeout=0)]
            while feed.book.state != "resynced":
                feed.get(SECONDS)
            return [*found, feed.book.resyncs, feed.book.best_bid]

    running = beside(program)
    peer = await played.joined()
    await peer.accepts()
    await peer.says(snapshot(5, ("9", "1")))
    await asyncio.to_thread(seen.wait, SECONDS)
    await peer.says(changed(6, ("9", "2")), changed(7, ("10", "1")))
    said.set()
    peer_left = asyncio.create_task(peer.hangs_up())
    peer = await played.joined()
    await peer_left
    await peer.accepts()
    await peer.says(snapshot(9, ("8", "1")))
    found = await within(running)
    assert found[:3] == [(9, 1), "live", (10, 1)]
    assert found[4:] == [1, (8, 1)]


async def test_whoever_reads_one_does_not_lose_another(played: Played, monkeypatch: pytest.MonkeyPatch) -> None:
    """With one thread nobody empties the other: it is taken off the connection, and goes on when it is looked at."""
    monkeypatch.setattr(mailbox, "ROOM", 2)

    def program() -> list[str]:
        with opened(played) as stream:
            slow = stream.subscribe("trades", symbol="A", after=0)
            fast = stream.subscribe("trades", symbol="B", after=0)
            found = [taken(fast).trade, *(taken(slow).trade for _ in range(3))]
            return [f"{each.symbol}{each.sequence}" for each in found]

    running = beside(program)
    peer = await played.joined()
    await peer.accepts()
    await peer.accepts()
    await peer.says(traded(1), traded(2), traded(3), traded(4, "B"))
    assert await peer.hears() == {"op": "unsubscribe", "channel": "trades", "symbol": "A"}
    assert (await peer.accepts())["after"] == 2
    await peer.says(traded(3))
    assert await within(running) == ["B4", "A1", "A2", "A3"]


async def test_an_order_is_waited_for_while_messages_come(played: Played) -> None:
    def program() -> list[int]:
        with opened(played) as stream:
            trades = stream.subscribe("trades", after=0)
            placed = stream.place(symbol="A", side="buy", price="1.00", quantity=2, client_order_id="mine")
            return [placed.order_id, taken(trades).trade.sequence]

    running = beside(program)
    peer = await played.joined()
    await peer.accepts()
    first = await peer.hears()
    await peer.says(traded(1))
    await peer.hangs_up()
    peer = await played.joined()
    asked = [await peer.hears() for _ in range(2)]
    assert [each["op"] for each in asked] == ["subscribe", "place"]
    assert {**asked[1], "id": 0} == {**first, "id": 0}
    await peer.says(answered(asked[1], "placed", order=order(11)))
    assert await within(running) == [11, 1]


async def test_orders_go_with_the_connection(played: Played) -> None:
    def program() -> int:
        with opened(played) as stream:
            stream.cancel_on_disconnect()
            return stream.cancel(11).order_id

    running = beside(program)
    peer = await played.joined()
    await peer.says({"id": (await peer.hears())["id"], "type": "cancel_on_disconnect", "enabled": True})
    await peer.hears()
    await peer.hangs_up()
    peer = await played.joined()
    assert await peer.hears() == {"id": 0, "op": "cancel_on_disconnect", "enabled": True}
    asked = await peer.hears()
    assert (asked["op"], asked["order_id"]) == ("cancel", 11)
    await peer.says(answered(asked, "canceled", order=order(11)))
    assert await within(running) == 11


async def test_an_order_that_is_never_answered_is_unknown(played: Played) -> None:
    def program() -> NoAnswer:
        with opened(played) as stream:
            stream._timeout, stream._orders = 0.02, Calls("anna", 0.0).over_socket()
            with pytest.raises(NoAnswer, match=r"nothing for 0\.02 s") as ended:
                stream.place(symbol="A", side="buy", price="1.00", quantity=2, client_order_id="mine")
            return ended.value

    running = beside(program)
    await (await played.joined()).hears()
    ended = await within(running)
    assert (ended.unknown, ended.client_order_id) == (True, "mine")


async def test_silence_is_stale_and_then_the_end_of_a_connection(
    played: Played, monkeypatch: pytest.MonkeyPatch
) -> None:
    def program() -> list[Any]:
        with opened(played) as stream:
            feed = stream.book("A")
            found: list[Any] = [stream.state]
            with monkeypatch.context() as impatient:
                impatient.setattr(blocking_stream, "STALE_SECONDS", 0.0)
                found += [stream.state, feed.book.state]
                impatient.setattr(blocking_stream, "DEAD_SECONDS", 0.0)
                stream.advance(0.0)
            while feed.book.state != "resynced":
                assert feed.get(SECONDS) is not None
            return [*found, feed.book.resyncs]

    running = beside(program)
    for sequence in (5, 6):
        peer = await played.joined()
        await peer.accepts()
        await peer.says(snapshot(sequence))
    assert await within(running) == ["live", "stale", "stale", 1]


async def test_what_is_refused_is_raised_at_once(played: Played) -> None:
    def program() -> list[str]:
        with opened(played) as stream:
            trades = stream.subscribe("trades", after=0)
            codes = []
            for ask in (lambda: stream.book("NONE"), lambda: next(trades), lambda: stream.subscribe("ticker")):
                with pytest.raises(Refusal) as refused:
                    ask()
                codes.append(refused.value.code)
            return codes

    running = beside(program)
    peer = await played.joined()
    await peer.accepts()
    await peer.says(problem("unknown_symbol", 422, id=(await peer.hears())["id"]))
    await peer.says(problem("key_ended", 401))
    assert await within(running) == ["unknown_symbol", "key_ended", "key_ended"]


async def test_a_subscription_at_a_bad_moment_is_asked_for_again(played: Played) -> None:
    def program() -> bool:
        with opened(played) as stream:
            return stream.subscribe("ticker").is_live

    running = beside(program)
    peer = await played.joined()
    await peer.says(problem("too_many_requests", 429, id=(await peer.hears())["id"]))
    await peer.accepts()
    assert await within(running)


async def test_who_is_not_let_in_is_told(played: Played) -> None:
    played.refusals = [(http.HTTPStatus.FORBIDDEN, {"status": 403, "code": "forbidden", "detail": "No."})]

    def program() -> None:
        with pytest.raises(Refusal, match="forbidden"), opened(played):
            raise AssertionError("it was let in")

    await within(beside(program))


def test_what_cannot_be_reached_is_told_after_a_while() -> None:
    with (
        Exchange("http://127.0.0.1:1", ws_url="ws://127.0.0.1:1/ws", patience=0.05) as exchange,
        pytest.raises(NoAnswer, match="cannot be reached"),
        exchange.stream(),
    ):
        raise AssertionError("it was let in")


def test_a_stream_must_be_open() -> None:
    with Exchange("http://127.0.0.1:1") as exchange:
        with pytest.raises(RuntimeError, match="with exchange"):
            exchange.stream().subscribe("trades")
        with pytest.raises(RuntimeError, match="with exchange"):
            exchange.stream().cancel(7)


async def test_the_end_of_a_stream_is_the_end_of_its_loops(played: Played) -> None:
    def program() -> list[Any]:
        with opened(played) as stream:
            trades = stream.subscribe("trades", after=0)
            other = stream.subscribe("ticker")
            other.close()
            assert list(other) == []
        return [*trades, stream.state]

    running = beside(program)
    peer = await played.joined()
    await peer.accepts()
    await peer.accepts()
    assert await peer.hears() == {"op": "unsubscribe", "channel": "ticker"}
    assert await within(running) == ["offline"]
