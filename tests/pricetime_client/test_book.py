"""LocalBook against a plain dictionary, after every message; and what it says when something is missing."""

import random
from decimal import Decimal

import pytest

from pricetime_client.book import Gap, LocalBook
from pricetime_client.messages import BookChange, BookSnapshot
from pricetime_client.views import Level


def level(price: str | int, quantity: str | int) -> Level:
    return Level(Decimal(price), Decimal(quantity))


def snapshot(last: int, bids: list[Level], asks: list[Level]) -> BookSnapshot:
    return BookSnapshot(
        channel="book", type="snapshot", symbol="A", levels=None, last_sequence=last, bids=bids, asks=asks
    )


def change(first: int, last: int, bids: list[Level], asks: list[Level]) -> BookChange:
    return BookChange(
        channel="book",
        type="change",
        symbol="A",
        levels=None,
        first_sequence=first,
        last_sequence=last,
        bids=bids,
        asks=asks,
    )


def begun() -> LocalBook:
    book = LocalBook("A")
    book.apply(snapshot(5, [level(99, 1), level(98, 2)], [level(101, 3), level(102, 4)]))
    return book


def test_a_new_book_is_empty_and_says_that_it_knows_nothing() -> None:
    book = LocalBook("A")
    assert (book.state, book.is_live, book.best_bid, book.best_ask, book.bids(), book.asks()) == (
        "stale", False, None, None, [], [],
    )  # fmt: skip


def test_a_snapshot_makes_it_live_best_prices_first() -> None:
    book = begun()
    assert (book.state, book.last_sequence, book.resyncs) == ("live", 5, 0)
    assert (book.best_bid, book.best_ask) == (level(99, 1), level(101, 3))
    assert book.bids() == [level(99, 1), level(98, 2)]
    assert book.asks(1) == [level(101, 3)]
    assert book.bids(0) == []


def test_a_change_has_new_quantities_and_nothing_removes() -> None:
    book = begun()
    book.apply(change(6, 9, [level(99, 0), level("97.50", 7)], [level(101, 1), level(555, 0)]))
    assert book.bids() == [level(98, 2), level("97.5", 7)]
    assert book.asks() == [level(101, 1), level(102, 4)]
    assert book.last_sequence == 9


@pytest.mark.parametrize("first", [5, 7])
def test_a_gap_is_told_and_the_book_is_stale_until_it_begins_anew(first: int) -> None:
    book = begun()
    with pytest.raises(Gap):
        book.apply(change(first, 9, [], []))
    assert book.state == "stale"
    book.apply(snapshot(20, [level(1, 1)], []))
    assert (book.state, book.resyncs, book.bids(), book.asks()) == ("resynced", 1, [level(1, 1)], [])
    book.apply(change(21, 21, [level(1, 2)], []))
    assert (book.state, book.is_live) == ("live", True)


def test_a_change_before_any_snapshot_is_a_gap() -> None:
    with pytest.raises(Gap):
        LocalBook("A").apply(change(1, 1, [], []))


def test_a_snapshot_that_comes_unasked_is_no_resync() -> None:
    book = begun()
    book.apply(snapshot(6, [], []))
    assert (book.state, book.resyncs) == ("live", 0)


def test_a_doubt_that_was_unfounded_leaves_it_as_it_was() -> None:
    book = begun()
    book.interrupt()
    assert not book.is_live
    book.confirm()
    assert (book.state, book.resyncs) == ("live", 0)
    fresh = LocalBook("A")
    fresh.confirm()
    assert fresh.state == "stale"


@pytest.mark.parametrize("seed", range(5))
def test_it_is_what_a_dictionary_says(seed: int) -> None:
    """Goal: the sorted prices never part from the quantities. Method: random changes, compared after each."""
    source = random.Random(seed)
    book, plain = LocalBook("A"), {"bids": dict[Decimal, Decimal](), "asks": dict[Decimal, Decimal]()}
    book.apply(snapshot(0, [], []))
    for sequence in range(1, 400):
        changes = {
            side: [level(source.randint(1, 30), source.choice((0, 0, 1, 2))) for _ in range(source.randint(0, 4))]
            for side in plain
        }
        book.apply(change(sequence, sequence, changes["bids"], changes["asks"]))
        for side, levels in changes.items():
            plain[side].update(levels)
        found = {"bids": book.bids(), "asks": book.asks()}
        for side, kept in plain.items():
            wanted = sorted((Level(*each) for each in kept.items() if each[1]), reverse=side == "bids")
            assert found[side] == wanted
        assert book.best_bid == (found["bids"] or [None])[0]
        assert book.best_ask == (found["asks"] or [None])[0]
