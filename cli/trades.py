"""`pricetime trades [SYMBOL]`: the trades as they are made; with --once the last ones.

    pricetime trades BTC-USD
    pricetime trades --once -n 50
    pricetime trades --json | jq -r '[.executed_at, .price] | @tsv'

Begins with the last ones and goes on from exactly there, also after the connection was lost: none is left out.
"""

import argparse
import asyncio
from collections import deque
from collections.abc import Iterable

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cli.live import PAUSE_SECONDS, Screen, terminal, the_symbol
from cli.options import count, symbol
from cli.order_text import TRADE_HEAD, TRADE_RIGHT, trade_row
from cli.rest import add_exchange, add_json, async_exchange, print_json
from cli.tables import columns
from pricetime_client import AsyncExchange, Stream, Subscription, Trade, TradeMessage
from pricetime_client.fields import TradeFilters
from pricetime_client.subscriptions import SubscriptionFields

_LAST = 20
_WIDTHS = (8, 23, 10, 5, 14, 18)
_STATES = {"live": ("live", "green"), "stale": ("stale: it may be old", "red"), "offline": ("offline", "red")}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("symbol", type=symbol, nargs="?", metavar="SYMBOL", help="of which (default: all)")
    parser.add_argument(
        "-n", "--last", type=count, default=_LAST, metavar="N", help="begin with the last N (default: %(default)s)"
    )
    parser.add_argument("--once", action="store_true", help="those, and no more")
    add_json(parser)
    add_exchange(parser)


def run(arguments: argparse.Namespace) -> int:
    asyncio.run(_show(arguments))
    return 0


async def _show(arguments: argparse.Namespace) -> None:
    with async_exchange(arguments) as exchange:
        async with exchange:
            if arguments.symbol is not None:
                arguments.symbol = the_symbol(arguments.symbol, await exchange.instruments())
            last, newest = await _latest(exchange, arguments)
            if arguments.once:
                _print_once(last, arguments)
            else:
                await _follow(exchange, last, newest, arguments)


async def _latest(exchange: AsyncExchange, arguments: argparse.Namespace) -> tuple[list[Trade], int]:
    """The trades to begin with, oldest first, and the sequence of the newest of any symbol: no later ones are left out.

    That one is asked for first. The symbol's own last may be so old that the stream no longer goes back to it.
    """
    newest = await exchange.trades(limit=1)
    filters: TradeFilters = {} if arguments.symbol is None else {"symbol": arguments.symbol}
    last = list(reversed(await exchange.trades(limit=arguments.last, **filters)))
    return last, max((each.sequence for each in (*newest, *last)), default=0)


def _print_once(trades: list[Trade], arguments: argparse.Namespace) -> None:
    if arguments.json:
        for each in trades:
            print_json(each)
    else:
        print("\n".join(columns(TRADE_HEAD, [trade_row(each) for each in trades], TRADE_RIGHT)))


async def _follow(exchange: AsyncExchange, last: list[Trade], after: int, arguments: argparse.Namespace) -> None:
    """Show `last`, then all that comes after the trade with sequence `after`. Without end."""
    fields: SubscriptionFields = {"after": after}
    if arguments.symbol is not None:
        fields["symbol"] = arguments.symbol
    async with exchange.stream() as stream:
        trades = stream.subscribe("trades", **fields)
        with terminal() as screen:
            if screen is None or arguments.json:
                await _print(last, trades, arguments)
            else:
                await _draw(screen, last, trades, stream, arguments.symbol or "all symbols")


async def _print(last: list[Trade], trades: Subscription[TradeMessage], arguments: argparse.Namespace) -> None:
    for each in last:
        _print_one(each, arguments)
    async for message in trades:
        _print_one(message.trade, arguments)


def _print_one(trade: Trade, arguments: argparse.Namespace) -> None:
    if arguments.json:
        print_json(trade)
    else:
        print(line(trade), flush=True)


def line(trade: Trade) -> str:
    """Of fixed columns, as it is not known what comes."""
    cells = zip(TRADE_HEAD, trade_row(trade), _WIDTHS, strict=True)
    return "  ".join(cell.rjust(width) if name in TRADE_RIGHT else cell.ljust(width) for name, cell, width in cells)


async def _draw(screen: Screen, last: list[Trade], trades: Subscription[TradeMessage], stream: Stream, of: str) -> None:
    shown: deque[Trade] = deque(last, maxlen=500)
    taking = asyncio.create_task(_take(trades, shown))
    try:
        while not taking.done():
            screen.draw(picture(reversed(shown), of, stream.state, max(1, screen.height - 3)))
            await asyncio.sleep(PAUSE_SECONDS)
        await taking
    finally:
        taking.cancel()


async def _take(trades: Subscription[TradeMessage], shown: deque[Trade]) -> None:
    async for message in trades:
        shown.append(message.trade)


def picture(trades: Iterable[Trade], of: str, state: str, lines: int) -> RenderableType:
    """The newest on top."""
    word, color = _STATES[state]
    table = Table(box=None, padding=(0, 2), header_style="dim")
    for name in TRADE_HEAD:
        table.add_column(name, justify="right" if name in TRADE_RIGHT else "left")
    for _, trade in zip(range(lines), trades, strict=False):
        table.add_row(*trade_row(trade), style="green" if trade.taker_side == "buy" else "red")
    return Group(Text.assemble(("Trades", "bold"), f" of {of}  ", (word, color)), table)
