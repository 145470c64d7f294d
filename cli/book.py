"""`pricetime book [SYMBOL]`: the order book, live in the terminal; with --once as it is now.

    pricetime book BTC-USD
    pricetime book BTC-USD --levels 20 --once
    pricetime book BTC-USD --json | jq .bids[0]

It follows the public stream with a book of its own, which begins anew by itself when something was lost; until then it
says that it may be old.
"""

import argparse
import asyncio
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cli.live import PAUSE_SECONDS, Screen, terminal, the_symbol
from cli.options import count, symbol
from cli.rest import add_exchange, add_json, async_exchange, print_json
from cli.tables import columns
from pricetime_client import AsyncExchange, Depth, Level, LocalBook

_LEVELS = 10
_MOST_LEVELS = 1_000
_STATES = {"live": "live", "resynced": "live again, from a new snapshot", "stale": "stale: it may be old"}
_COLORS = {"live": "green", "resynced": "yellow", "stale": "red"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("symbol", type=symbol, nargs="?", metavar="SYMBOL", help="which (default: the only one)")
    parser.add_argument(
        "-l", "--levels", type=count, metavar="N", help=f"so many of each side (default: what fits, else {_LEVELS})"
    )
    parser.add_argument("--once", action="store_true", help="as it is now, and no more")
    add_json(parser)
    add_exchange(parser)
    parser.epilog = "Where the output is no terminal, a line of best bid and ask each time that the book changes."


def run(arguments: argparse.Namespace) -> int:
    asyncio.run(_show(arguments))
    return 0


async def _show(arguments: argparse.Namespace) -> None:
    with async_exchange(arguments) as exchange:
        async with exchange:
            chosen = the_symbol(arguments.symbol, await exchange.instruments())
            levels = None if arguments.levels is None else min(arguments.levels, _MOST_LEVELS)
            if arguments.once:
                _show_once(await exchange.depth(chosen, levels or _LEVELS), arguments)
            else:
                await _follow(exchange, chosen, levels, arguments)


def _show_once(depth: Depth, arguments: argparse.Namespace) -> None:
    if arguments.json:
        print_json(depth)
        return
    rows = [("ask", *row) for row in reversed(_with_totals(depth.asks))]
    rows += [("bid", *row) for row in _with_totals(depth.bids)]
    print(f"{depth.symbol} after commit {depth.sequence}")
    print("\n".join(columns(("SIDE", "PRICE", "QUANTITY", "TOTAL"), rows, ("PRICE", "QUANTITY", "TOTAL"))))


async def _follow(exchange: AsyncExchange, symbol: str, levels: int | None, arguments: argparse.Namespace) -> None:
    """Without end."""
    with terminal() as screen:
        wanted = levels or (_LEVELS if screen is None else fitting(screen.height))
        async with exchange.stream() as stream:
            async for book in stream.book(symbol, levels=wanted):
                if screen is None or arguments.json:
                    _print(book, wanted, as_lines=arguments.json)
                else:
                    _draw(screen, book, wanted)
                    await asyncio.sleep(PAUSE_SECONDS)


def _draw(screen: Screen, book: LocalBook, levels: int) -> None:
    screen.draw(picture(book, levels))


def fitting(height: int) -> int:
    """How many levels of each side a terminal of so many lines has room for."""
    return max(1, min((height - 5) // 2, 50))


def _print(book: LocalBook, levels: int, *, as_lines: bool) -> None:
    if as_lines:
        print_json(_content(book, levels))
    else:
        print(line(book), flush=True)


def _content(book: LocalBook, levels: int) -> dict[str, Any]:
    return {
        "symbol": book.symbol,
        "state": book.state,
        "sequence": book.last_sequence,
        "bids": book.bids(levels),
        "asks": book.asks(levels),
    }


def line(book: LocalBook) -> str:
    """
    123  live  bid 99.50 x 1.5  ask 99.60 x 2
    """
    return f"{book.last_sequence}  {book.state}  bid {_level(book.best_bid)}  ask {_level(book.best_ask)}"


def _level(level: Level | None) -> str:
    return "-" if level is None else f"{level.price:f} x {level.quantity:f}"


def picture(book: LocalBook, levels: int) -> RenderableType:
    """Asks above bids, the best of both in the middle."""
    title = Text.assemble(
        (book.symbol, "bold"), f"  commit {book.last_sequence}  ", (_STATES[book.state], _COLORS[book.state])
    )
    table = Table(box=None, padding=(0, 2), header_style="dim")
    for name in ("PRICE", "QUANTITY", "TOTAL"):
        table.add_column(name, justify="right")
    for row in reversed(_with_totals(book.asks(levels))):
        table.add_row(*row, style="red")
    table.add_row(Text(_spread(book), style="dim"), "", "")
    for row in _with_totals(book.bids(levels)):
        table.add_row(*row, style="green")
    return Group(title, table)


def _spread(book: LocalBook) -> str:
    bid, ask = book.best_bid, book.best_ask
    return "-" if bid is None or ask is None else f"{ask.price - bid.price:f}"


def _with_totals(levels: Sequence[Level]) -> list[tuple[str, str, str]]:
    """Each level with all that is at it or better."""
    total, rows = Decimal(0), []
    for price, quantity in levels:
        total += quantity
        rows.append((f"{price:f}", f"{quantity:f}", f"{total:f}"))
    return rows
