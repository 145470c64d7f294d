"""Fan-out of /ws with clients made of lists: who gets what, when a connection is full, and after."""

import json
from collections.abc import Callable
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broadcaster import streams
from broadcaster.feed import Farewell, Gap
from broadcaster.market import LevelNews, Listing, News
from broadcaster.orders import LiveOrders, OpenOrder, OrderChange, OrderEvent
from broadcaster.streams import (
    BookFeed,
    BookTooLarge,
    ConflatedFeed,
    OrderFeed,
    Update,
    orders_snapshot,
    updates_of,
)
from contracts.messages import LevelChanged, OrderState, OrderType, Side, TimeInForce
from contracts.views import Instrument
from tests.support.streams import RebuiltBook, check_frame

GOLD = Instrument("GOLD", "0.01", "0.001", 1, 10**12)


class ListOutlet:
    """Ready while `room` lasts; each write takes one."""

    def __init__(self, room: float = float("inf")) -> None:
        self.on_ready: Callable[[], None] | None = None
        self.room = room
        self.bytes = b""
        self.farewells: list[Farewell] = []

    def is_ready(self) -> bool:
        return self.room > 0 and not self.farewells

    def write(self, frames: bytes) -> None:
        self.bytes += frames
        self.room -= 1

    def goodbye(self, farewell: Farewell) -> None:
        self.farewells.append(farewell)

    def drain(self, room: float = float("inf")) -> None:
        self.room = room
        if self.on_ready is not None:
            self.on_ready()

    @property
    def received(self) -> list[Any]:
        """Every message so far, each one of the AsyncAPI document."""
        messages, rest = [], self.bytes
        while rest:
            size, start = {
                126: (int.from_bytes(rest[2:4], "big"), 4),
                127: (int.from_bytes(rest[2:10], "big"), 10),
            }.get(rest[1], (rest[1], 2))
            messages.append(json.loads(rest[start : start + size]))
            check_frame(messages[-1])
            rest = rest[start + size :]
        return messages


class Books:
    """A listing whose levels a test sets, commit by commit."""

    def __init__(self) -> None:
        self.listing = Listing(GOLD)
        self.feed = BookFeed(lambda _: self.listing)
        self.sequence = 0

    def commit(self, *levels: tuple[Side, int, int]) -> None:
        self.sequence += 1
        if not levels:
            return
        news = LevelNews(self.listing.book_sequence)
        for side, price, quantity in levels:
            key = self.listing.book.change(LevelChanged("GOLD", side, price, quantity))
            news.levels[key] = quantity
        self.listing.book_sequence = self.sequence
        self.feed.publish(News(books={"GOLD": news}))

    def best(self, levels: int | None) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
        book = self.listing.book
        bids, asks = (
            [
                (GOLD.tick.format(price), GOLD.lot.format(quantity))
                for price, quantity in book.best(side, len(book) if levels is None else levels)
            ]
            for side in Side
        )
        return bids, asks


def test_a_snapshot_and_then_differences() -> None:
    books, client = Books(), ListOutlet()
    books.commit((Side.BUY, 100, 5), (Side.SELL, 102, 1))
    books.feed.join(client, "GOLD", None)
    books.commit()
    books.commit((Side.BUY, 100, 0), (Side.BUY, 99, 7))
    snapshot, change = client.received
    assert snapshot == {
        "channel": "book",
        "type": "snapshot",
        "symbol": "GOLD",
        "levels": None,
        "last_sequence": 1,
        "bids": [["1.00", "0.005"]],
        "asks": [["1.02", "0.001"]],
    }
    assert (change["first_sequence"], change["last_sequence"]) == (2, 3)
    assert (change["bids"], change["asks"]) == ([["1.00", "0"], ["0.99", "0.007"]], [])


def test_all_clients_share_the_bytes() -> None:
    books, clients = Books(), [ListOutlet() for _ in range(3)]
    for client in clients:
        books.feed.join(client, "GOLD", None)
    books.commit((Side.BUY, 100, 5))
    assert clients[0].bytes == clients[1].bytes == clients[2].bytes
    assert len(books.feed) == 3


def test_who_left_a_book_gets_nothing_more() -> None:
    books, client = Books(), ListOutlet()
    books.feed.leave(books.feed.join(client, "GOLD", None))
    books.commit((Side.BUY, 100, 5))
    assert len(client.received) == 1
    assert len(books.feed) == 0


def test_a_level_behind_the_best_comes_forward_when_one_of_those_goes() -> None:
    books, client = Books(), ListOutlet()
    books.commit((Side.SELL, 101, 1), (Side.SELL, 102, 2), (Side.SELL, 103, 3))
    books.feed.join(client, "GOLD", 2)
    books.commit((Side.SELL, 103, 4))
    books.commit((Side.SELL, 101, 0))
    snapshot, change = client.received
    assert [price for price, _ in snapshot["asks"]] == ["1.01", "1.02"]
    assert change["asks"] == [["1.01", "0"], ["1.03", "0.004"]]
    assert (change["first_sequence"], change["last_sequence"]) == (2, 3)


def test_a_full_client_gets_one_change_for_all_it_missed() -> None:
    books, client = Books(), ListOutlet(room=1)
    books.feed.join(client, "GOLD", None)
    for quantity in range(1, 100):
        books.commit((Side.BUY, 100, quantity), (Side.BUY, 50 + quantity % 3, quantity))
    assert len(client.received) == 1
    client.drain()
    _, change = client.received
    assert (change["first_sequence"], change["last_sequence"]) == (1, 99)
    assert len(change["bids"]) == 4
    assert books.feed.conflated == 1


def test_a_client_that_missed_more_than_is_kept_gets_a_snapshot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "KEPT_LEVELS", 10)
    books, client = Books(), ListOutlet(room=1)
    books.feed.join(client, "GOLD", None)
    for quantity in range(1, 100):
        books.commit((Side.BUY, 100 + quantity, quantity))
    client.drain()
    assert [each["type"] for each in client.received] == ["snapshot", "snapshot"]
    assert len(client.received[1]["bids"]) == 99


def test_a_book_that_is_too_large_is_not_sent_in_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "MAX_FULL_LEVELS", 2)
    books = Books()
    books.commit((Side.BUY, 1, 1), (Side.BUY, 2, 1), (Side.BUY, 3, 1))
    with pytest.raises(BookTooLarge):
        books.feed.join(ListOutlet(), "GOLD", None)
    books.feed.join(ListOutlet(), "GOLD", 3)


LEVEL = st.tuples(st.sampled_from(Side), st.integers(1, 12), st.integers(0, 3))
STEP = st.one_of(
    st.lists(LEVEL, max_size=4), st.sampled_from(["drain one", "drain", "fill", "come back"]), st.integers(1, 5)
)


@given(st.lists(STEP, max_size=80), st.sampled_from([None, 1, 2, 5]), st.sampled_from([6, 10**6]))
def test_a_rebuilt_book_is_the_book(steps: list[Any], levels: int | None, kept: int) -> None:
    """Goal: whoever follows the rule of first and last sequence has the book, whatever was left out on the way.

    Method: random levels, with the client's connection filling, draining and coming back at random, and little kept.
    """
    before, streams.KEPT_LEVELS = streams.KEPT_LEVELS, kept
    try:
        books, client, rebuilt, taken = Books(), ListOutlet(), RebuiltBook(), 0
        watcher = books.feed.join(client, "GOLD", levels)
        for step in [*steps, "drain"]:
            if isinstance(step, list):
                books.commit(*{each[:2]: each for each in step}.values())
            elif isinstance(step, int):
                for _ in range(step):
                    books.commit()
            elif step == "come back":
                books.feed.leave(watcher)
                client, rebuilt, taken = ListOutlet(room=2), RebuiltBook(), 0
                watcher = books.feed.join(client, "GOLD", levels)
            else:
                client.drain({"drain one": 1, "drain": float("inf"), "fill": 0}[step])
            received = client.received
            for message in received[taken:]:
                rebuilt.take(message)
            taken = len(received)
            if not watcher.lagging:
                assert rebuilt.levels == books.best(levels)
    finally:
        streams.KEPT_LEVELS = before


# Conflated


def slot_frame(slot: str, number: int) -> bytes:
    return f"{slot}{number} ".encode()


def test_the_latest_of_each_slot_counts() -> None:
    feed: ConflatedFeed[str] = ConflatedFeed(lambda key: [b"first "] if key else [b"all "])
    slow, everything = ListOutlet(room=1), ListOutlet()
    feed.join(slow, "a")
    feed.join(everything, None)
    for number in range(1, 6):
        feed.publish("a", "a", slot_frame("a", number))
        feed.publish("b", "b", slot_frame("b", number))
    slow.drain()
    feed.publish("a", "a", slot_frame("a", 6))
    assert slow.bytes == b"first a5 a6 "
    assert everything.bytes == b"all a1 b1 a2 b2 a3 b3 a4 b4 a5 b5 a6 "
    assert feed.conflated == 4


def test_too_many_slots_waiting_end_a_client() -> None:
    feed: ConflatedFeed[str] = ConflatedFeed(lambda _: [], limit=3)
    client = ListOutlet(room=0)
    feed.leave(feed.join(ListOutlet(), "a"))
    feed.join(client, "a")
    for number in range(4):
        feed.publish("a", number, slot_frame("a", number))
    assert [each.close_code for each in client.farewells] == [4008]
    assert feed.watched({"a", "b"}) == {"a"}
    assert feed.is_watched("a")
    assert not feed.is_watched("b")


# Orders


def change(sequence: int, index: int, account: str) -> OrderChange:
    order_id = 1000 * sequence + index
    order = OrderState(
        order_id, None, account, "GOLD", Side.BUY, OrderType.LIMIT, TimeInForce.GTC, False, 100, 5, 0, "0", sequence
    )
    return OrderChange(order, 0, 0, sequence, sequence, index, OrderEvent.ACCEPTED)


def updates(sequence: int, *accounts: str) -> list[Update]:
    return updates_of([change(sequence, index, account) for index, account in enumerate(accounts)], lambda _: GOLD)


def numbers(client: ListOutlet) -> list[tuple[int, int]]:
    return [(each["sequence"], each["index"]) for each in client.received if each["type"] == "update"]


def test_each_account_sees_its_own_only() -> None:
    feed = OrderFeed()
    clients = {accounts: ListOutlet() for accounts in [("anna",), ("ben",), ("anna", "ben"), (), None]}
    for accounts, client in clients.items():
        feed.begin(client, accounts, iter(()))
    feed.publish(updates(1, "anna", "ben", "anna", "cleo"))
    feed.publish(updates(2, "cleo"))
    assert {accounts: numbers(client) for accounts, client in clients.items()} == {
        ("anna",): [(1, 0), (1, 2)],
        ("ben",): [(1, 1)],
        ("anna", "ben"): [(1, 0), (1, 1), (1, 2)],
        (): [],
        None: [(1, 0), (1, 1), (1, 2), (1, 3), (2, 0)],
    }


def test_it_goes_on_after_a_sequence_or_within_one() -> None:
    feed = OrderFeed()
    for sequence in range(1, 6):
        feed.publish(updates(sequence, "anna", "ben", "anna"))

    def resumed(after: int, index: int | None, account: str = "anna") -> list[tuple[int, int]]:
        client = ListOutlet()
        feed.leave(feed.resume(client, (account,), after, index))
        return numbers(client)

    assert resumed(4, None) == [(5, 0), (5, 2)]
    assert resumed(4, 0) == [(4, 2), (5, 0), (5, 2)]
    assert resumed(4, 1) == [(4, 2), (5, 0), (5, 2)]
    assert resumed(5, 2) == []
    assert resumed(0, 0, "ben") == resumed(0, None, "ben") == [(sequence, 1) for sequence in range(1, 6)]


def test_a_gap_is_told_and_a_quiet_account_has_none() -> None:
    feed = OrderFeed(kept=10)
    feed.publish(updates(1, "quiet"))
    for sequence in range(2, 50):
        feed.publish(updates(sequence, "busy"))
    feed.publish(updates(50, "quiet"))
    with pytest.raises(Gap):
        feed.resume(ListOutlet(), ("busy",), 10, None)
    with pytest.raises(Gap):
        feed.resume(ListOutlet(), None, 10, None)
    client = ListOutlet()
    feed.resume(client, ("quiet",), 1, None)
    assert numbers(client) == [(50, 0)]
    with pytest.raises(Gap):
        feed.resume(ListOutlet(), ("quiet",), 0, None)


def test_a_feed_that_starts_late_has_nothing_from_before() -> None:
    feed = OrderFeed(7)
    feed.publish(updates(8, "anna"))
    with pytest.raises(Gap) as gap:
        feed.resume(ListOutlet(), ("anna",), 6, None)
    assert gap.value.first == 8
    feed.resume(ListOutlet(), ("anna",), 7, None)


def test_a_client_that_falls_out_of_what_is_kept_must_go_and_the_others_get_all() -> None:
    feed, slow, quick = OrderFeed(kept=20), ListOutlet(room=0), ListOutlet()
    feed.begin(slow, ("anna",), iter(()))
    feed.begin(quick, ("anna",), iter(()))
    for sequence in range(1, 100):
        feed.publish(updates(sequence, "anna"))
    assert numbers(quick) == [(sequence, 0) for sequence in range(1, 100)]
    assert {(each.close_code, each.code) for each in slow.farewells} == {(4008, "slow_consumer")}


@given(
    st.lists(
        st.one_of(
            st.lists(st.sampled_from(["anna", "ben", "cleo"]), min_size=1, max_size=4),
            st.sampled_from(["drain one", "drain", "fill", "come back"]),
        ),
        max_size=60,
    ),
    st.sampled_from([("anna",), ("anna", "ben"), None]),
)
def test_never_a_gap_never_a_repeat_never_anothers(steps: list[Any], accounts: tuple[str, ...] | None) -> None:
    """Goal: what a client has is at any moment the beginning of its accounts' updates, whatever is slow or lost.

    Method: commits at random, with the connection filling, draining and breaking; it comes back with the last update
    that it has, and is served from there or told of the gap.
    """
    feed, client, sequence = OrderFeed(kept=8), ListOutlet(room=2), 0
    expected: list[tuple[int, int]] = []
    have: list[tuple[int, int]] = []
    feed.begin(client, accounts, iter(()))
    for step in steps:
        if isinstance(step, list):
            sequence += 1
            new = updates(sequence, *step)
            feed.publish(new)
            expected += [(each.sequence, each.index) for each in new if accounts is None or each.account in accounts]
        elif step == "come back":
            have += numbers(client)
            client = ListOutlet(room=2)
            try:
                feed.resume(client, accounts, *(have[-1] if have else (0, None)))
            except Gap:
                have = list(expected)
                feed.begin(client, accounts, iter(()))
        else:
            client.drain({"drain one": 1, "drain": float("inf"), "fill": 0}[step])
        now = have + numbers(client)
        assert now == expected[: len(now)]
        assert client.farewells or client.room <= 0 or now == expected


def test_a_snapshot_comes_in_parts_as_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "ORDERS_PER_MESSAGE", 3)
    orders = Random(3).sample([change(sequence, 0, "anna").order for sequence in range(1, 9)], 8)

    class Orders:
        def of(self, account: str) -> list[OpenOrder]:
            return [OpenOrder(order, 0, 0, 9, 9) for order in orders if order.account == account]

    feed, client = OrderFeed(), ListOutlet(room=1)
    feed.begin(client, ("anna",), orders_snapshot(Orders(), ("anna",), 9, lambda _: GOLD))  # type: ignore[arg-type]
    feed.publish(updates(10, "anna"))
    assert [each["more"] for each in client.received] == [True]
    client.drain()
    assert [each.get("more") for each in client.received] == [True, True, False, None]
    found = [order["order_id"] for each in client.received[:3] for order in each["orders"]]
    assert found == [order.order_id for order in orders]
    assert numbers(client) == [(10, 0)]


def test_a_snapshot_of_no_orders_is_one_message() -> None:
    feed, client = OrderFeed(), ListOutlet()
    feed.begin(client, ("nobody",), orders_snapshot(LiveOrders(), ("nobody",), 4, lambda _: GOLD))
    [only] = client.received
    assert (only["orders"], only["more"], only["sequence"], only["accounts"]) == ([], False, 4, ["nobody"])
