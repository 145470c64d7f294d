"""What is drawn live, as a picture of what is known: the book, the trades, and whether either may be old."""

import json
from argparse import Namespace
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from msgspec.structs import replace
from rich.console import Console, RenderableType

from cli import book as book_command
from cli import trades as trades_command
from cli.errors import CommandError
from cli.live import the_symbol
from pricetime_client import BookChange, BookSnapshot, Gap, Instrument, Level, LocalBook, Trade


def levels(**quantities: str) -> list[Level]:
    return [Level(Decimal(price.removeprefix("p")), Decimal(quantity)) for price, quantity in quantities.items()]


@pytest.fixture
def book() -> LocalBook:
    made = LocalBook("BTC-USD")
    made.apply(
        BookSnapshot(
            channel="book",
            type="snapshot",
            symbol="BTC-USD",
            levels=None,
            last_sequence=7,
            bids=levels(p99="1.5", p98="2.0"),
            asks=levels(p101="0.5", p102="4.0"),
        )
    )
    return made


def drawn(picture: RenderableType) -> list[list[str]]:
    """The words of each line."""
    console = Console(width=100, color_system=None)
    with console.capture() as captured:
        console.print(picture)
    return [line.split() for line in captured.get().splitlines()]


def test_a_book_has_asks_above_bids_and_the_spread_between(book: LocalBook) -> None:
    assert drawn(book_command.picture(book, 10)) == [
        ["BTC-USD", "commit", "7", "live"],
        ["PRICE", "QUANTITY", "TOTAL"],
        ["102", "4.0", "4.5"],
        ["101", "0.5", "0.5"],
        ["2"],
        ["99", "1.5", "1.5"],
        ["98", "2.0", "3.5"],
    ]
    assert drawn(book_command.picture(book, 1))[2:] == [["101", "0.5", "0.5"], ["2"], ["99", "1.5", "1.5"]]


def test_a_book_that_may_be_old_says_so(book: LocalBook) -> None:
    lost = BookChange(
        channel="book",
        type="change",
        symbol="BTC-USD",
        levels=None,
        first_sequence=9,
        last_sequence=9,
        bids=[],
        asks=[],
    )
    with pytest.raises(Gap):
        book.apply(lost)
    assert drawn(book_command.picture(book, 1))[0] == ["BTC-USD", "commit", "7", "stale:", "it", "may", "be", "old"]
    assert book_command.line(book) == "7  stale  bid 99 x 1.5  ask 101 x 0.5"


def test_an_empty_side_is_a_dash() -> None:
    empty = LocalBook("BTC-USD")
    assert book_command.line(empty) == "0  stale  bid -  ask -"
    assert drawn(book_command.picture(empty, 5))[2:] == [["-"]]


@pytest.mark.parametrize(("height", "expected"), [(24, 9), (6, 1), (1, 1), (300, 50)])
def test_as_many_levels_as_fit(height: int, expected: int) -> None:
    assert book_command.fitting(height) == expected


def trade(number: int, taker: str) -> Trade:
    return Trade(
        trade_id=number,
        symbol="BTC-USD",
        price=Decimal("99.50"),
        quantity=Decimal("1.000"),
        taker_side="buy" if taker == "buy" else "sell",
        maker_order_id=1,
        taker_order_id=2,
        executed_at=datetime(2026, 11, 21, 9, 30, 0, 123456, UTC),
        sequence=number,
    )


def test_trades_have_the_newest_on_top_and_no_more_than_fit() -> None:
    shown = drawn(trades_command.picture([trade(3, "buy"), trade(2, "sell"), trade(1, "buy")], "BTC-USD", "live", 2))
    assert shown[0] == ["Trades", "of", "BTC-USD", "live"]
    assert shown[2:] == [
        ["3", "2026-11-21", "09:30:00.123", "BTC-USD", "buy", "99.50", "1.000"],
        ["2", "2026-11-21", "09:30:00.123", "BTC-USD", "sell", "99.50", "1.000"],
    ]
    assert drawn(trades_command.picture([], "all symbols", "offline", 2))[0][-1] == "offline"


def test_a_trade_in_plain_lines_has_columns_of_one_width() -> None:
    lines = [trades_command.line(trade(number, "sell")) for number in (1, 1_000_000)]
    assert len({len(line) for line in lines}) == 1
    assert lines[0].split() == ["1", "2026-11-21", "09:30:00.123", "BTC-USD", "sell", "99.50", "1.000"]


class Asked:
    """An exchange, its stream and a subscription in one: remembers what was subscribed to, and has no more to say."""

    def __init__(self, *made: Trade) -> None:
        self.made = made
        self.fields: dict[str, object] = {}

    async def trades(self, limit: int, symbol: str | None = None) -> list[Trade]:
        return [each for each in reversed(self.made) if symbol in (None, each.symbol)][:limit]

    def stream(self) -> "Asked":
        return self

    async def __aenter__(self) -> "Asked":
        return self

    async def __aexit__(self, *error: object) -> None:
        pass

    def subscribe(self, channel: str, **fields: object) -> "Asked":
        self.fields = {"channel": channel, **fields}
        return self

    async def __aiter__(self) -> AsyncIterator[object]:
        return
        yield


@pytest.mark.parametrize(
    ("symbol", "shown", "after"),
    [
        ("BTC-USD", [5, 6], 9),
        ("ETH-USD", [8, 9], 9),
        ("NEW-USD", [], 9),
        (None, [8, 9], 9),
    ],
)
async def test_the_stream_goes_on_where_all_that_is_known_ends(
    symbol: str | None, shown: list[int], after: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also for a symbol without any trade, or with none for so long that the stream no longer goes back to it."""
    symbols = ["BTC-USD"] * 6 + ["ETH-USD"] * 3
    asked: Any = Asked(*(replace(trade(n, "buy"), symbol=each) for n, each in enumerate(symbols, 1)))
    arguments = Namespace(symbol=symbol, json=True, last=2)
    last, newest = await trades_command._latest(asked, arguments)
    await trades_command._follow(asked, last, newest, arguments)
    assert asked.fields == {"channel": "trades", "after": after} | ({"symbol": symbol} if symbol else {})
    assert [json.loads(line)["trade_id"] for line in capsys.readouterr().out.splitlines()] == shown


async def test_before_the_first_trade_the_stream_begins_at_the_beginning() -> None:
    asked: Any = Asked()
    assert await trades_command._latest(asked, Namespace(symbol=None, last=2)) == ([], 0)


def listed(*symbols: str) -> list[Instrument]:
    one = Decimal(1)
    return [
        Instrument(symbol=symbol, tick_size=one, lot_size=one, min_quantity=one, max_quantity=one, status="trading")
        for symbol in symbols
    ]


def test_the_only_symbol_need_not_be_named() -> None:
    assert the_symbol(None, listed("A")) == "A"
    assert the_symbol("B", listed("A", "B")) == "B"
    with pytest.raises(CommandError, match="which symbol\\? listed: A, B"):
        the_symbol(None, listed("A", "B"))
    with pytest.raises(CommandError, match="C is not listed; listed: nothing"):
        the_symbol("C", [])
