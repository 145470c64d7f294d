"""Fan-out with clients made of lists."""

import json
from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from broadcaster.feed import MISSED_DEPTHS, DepthFeed, Farewell, Gap, TradeFeed, frame
from contracts.views import DepthView


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
    def received(self) -> list[int]:
        """The trade ids, read back from the frames (each under 126 bytes)."""
        ids, rest = [], self.bytes
        while rest:
            assert rest[0] == 0x81
            ids.append(int(rest[2 : 2 + rest[1]]))
            rest = rest[2 + rest[1] :]
        return ids


def trades(first: int, last: int, symbol: str = "AAA") -> list[tuple[str, bytes]]:
    return [(symbol, str(trade_id).encode()) for trade_id in range(first, last + 1)]


def test_a_frame_is_one_unmasked_text_message() -> None:
    assert frame(b"hello") == b"\x81\x05hello"
    assert frame(b"x" * 300)[:4] == b"\x81\x7e\x01\x2c"


def test_everyone_gets_new_trades_from_the_moment_of_joining() -> None:
    feed, early, late = TradeFeed(), ListOutlet(), ListOutlet()
    feed.join(early, None, None)
    feed.publish(trades(1, 3))
    feed.join(late, None, None)
    feed.publish(trades(4, 5))
    assert (early.received, late.received) == ([1, 2, 3, 4, 5], [4, 5])
    assert len(feed) == 2


def test_who_names_the_last_trade_seen_gets_the_ones_after_it() -> None:
    feed, client = TradeFeed(), ListOutlet()
    feed.publish(trades(1, 1000))
    feed.join(client, None, 990)
    feed.publish(trades(1001, 1002))
    assert client.received == list(range(991, 1003))


def test_a_feed_that_starts_late_has_a_first_trade() -> None:
    feed = TradeFeed(100)
    feed.publish(trades(101, 103))
    assert (feed.first_id, feed.last_id) == (101, 103)
    with pytest.raises(Gap) as gap:
        feed.join(ListOutlet(), None, 99)
    assert gap.value.first == 101
    client = ListOutlet()
    feed.join(client, None, 100)
    assert client.received == [101, 102, 103]


def test_only_trades_of_the_symbol_asked_for() -> None:
    feed, aaa, bbb = TradeFeed(), ListOutlet(), ListOutlet()
    feed.publish(trades(1, 2, "AAA") + trades(3, 3, "BBB"))
    feed.join(aaa, "AAA", 0)
    feed.join(bbb, "BBB", 0)
    feed.publish(trades(4, 4, "BBB") + trades(5, 5, "AAA"))
    assert (aaa.received, bbb.received) == ([1, 2, 5], [3, 4])


def test_who_left_gets_nothing_more() -> None:
    feed, client = TradeFeed(), ListOutlet()
    feed.leave(feed.join(client, None, None))
    feed.publish(trades(1, 1))
    assert client.received == []
    assert len(feed) == 0
    assert client.on_ready is None


def test_a_full_client_is_passed_over_and_goes_on_where_it_was() -> None:
    feed, slow, quick = TradeFeed(), ListOutlet(room=1), ListOutlet()
    feed.join(slow, None, None)
    feed.join(quick, None, None)
    for trade_id in range(1, 1001):
        feed.publish(trades(trade_id, trade_id))
    assert slow.received == [1]
    slow.drain(room=2)
    feed.publish(trades(1001, 1001))
    slow.drain()
    feed.publish(trades(1002, 1002))
    assert slow.received == quick.received == list(range(1, 1003))


def test_a_client_that_falls_too_far_behind_is_told_and_the_others_get_all() -> None:
    feed, slow, quick = TradeFeed(kept=100), ListOutlet(room=1), ListOutlet()
    feed.join(slow, None, None)
    feed.join(quick, None, None)
    for first in range(1, 10_001, 10):
        feed.publish(trades(first, first + 9))
    assert quick.received == list(range(1, 10_001))
    assert quick.farewells == []
    assert slow.received == list(range(1, 11))
    farewell = slow.farewells[0]
    assert (farewell.close_code, farewell.code) == (1013, "slow_consumer")
    message = json.loads(farewell.message[4:])
    assert message["type"] == "error"
    assert message["code"] == "slow_consumer"
    assert "after 10 " in message["detail"]


@given(
    st.lists(st.one_of(st.integers(1, 40), st.sampled_from(["drain one", "drain", "fill", "come back"])), max_size=60)
)
def test_never_a_gap_and_never_a_repeat(steps: list[int | str]) -> None:
    """Goal: what a client has received is at any moment an unbroken run; it is told before anything is left out.

    Method: bursts of trades, with the client's connection filling and draining at random; a client that was told
    comes back with the last trade it has, and is either served from there or told of the gap.
    """
    feed, client, seen = TradeFeed(kept=50), ListOutlet(room=2), 0
    feed.join(client, None, None)
    for step in steps:
        if isinstance(step, int):
            feed.publish(trades(feed.last_id + 1, feed.last_id + step))
        elif step == "come back":
            seen = max([seen, *client.received])
            client = ListOutlet(room=2)
            if seen + 1 < feed.first_id:
                with pytest.raises(Gap):
                    feed.join(client, None, seen)
                seen = feed.last_id
            feed.join(client, None, seen)
        else:
            client.drain({"drain one": 1, "drain": float("inf"), "fill": 0}[step])
        assert client.received == list(range(seen + 1, seen + 1 + len(client.received)))
        assert client.farewells or client.room <= 0 or len(client.received) == feed.last_id - seen


def depth_feed() -> tuple[DepthFeed, list[tuple[str, int]]]:
    asked: list[tuple[str, int]] = []

    def depth(symbol: str, levels: int) -> DepthView:
        asked.append((symbol, levels))
        return DepthView(symbol, len(asked), [], [])

    return DepthFeed(depth), asked


def test_depth_is_sent_on_joining_and_then_encoded_once_for_all() -> None:
    feed, asked = depth_feed()
    clients = [ListOutlet() for _ in range(3)]
    for client in clients:
        feed.join(client, "AAA", 5)
    asked.clear()
    feed.publish()
    assert asked == [("AAA", 5)]
    assert all(client.bytes.endswith(frame(msgspec.json.encode(DepthView("AAA", 1, [], [])))) for client in clients)


def test_a_full_client_misses_some_depths_and_is_told_when_it_misses_too_many() -> None:
    feed, _ = depth_feed()
    full, passing, quick = ListOutlet(room=1), ListOutlet(room=1), ListOutlet()
    for client in (full, passing, quick):
        feed.join(client, "AAA", 5)
    for _ in range(MISSED_DEPTHS - 1):
        feed.publish()
    passing.drain()
    feed.publish()
    assert [each.code for each in full.farewells] == ["slow_consumer"]
    assert passing.farewells == quick.farewells == []
    assert quick.bytes.count(b"AAA") == MISSED_DEPTHS + 1


def test_who_left_a_book_gets_nothing_more() -> None:
    feed, asked = depth_feed()
    feed.leave(feed.join(ListOutlet(), "AAA", 5))
    asked.clear()
    feed.publish()
    assert (asked, len(feed)) == ([], 0)
