"""`pricetime order`: place one order, and say what became of it.

    pricetime order buy 1.5 BTC-USD --price 99.50
    pricetime order sell 2 --market
    pricetime order buy 1 --stop 101 --price 102 --tif DAY
    pricetime order buy BTC-USD --notional 500 --market

It is sent again until the exchange has answered, and placed once.
"""

import argparse
from typing import cast

from cli.errors import CommandError
from cli.options import MOMENTS, decimal, future, name, symbol
from cli.order_text import order_lines
from cli.rest import add_exchange, add_json, exchange, print_json
from pricetime_client import OrderFields

_TIMES = ("GTC", "IOC", "FOK", "GTD", "DAY")
_PREVENTIONS = ("none", "cancel_newest", "cancel_oldest", "cancel_both", "decrement")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("side", choices=("buy", "sell"), help="what it wants")
    parser.add_argument("quantity", nargs="?", metavar="QUANTITY", help="how much; left out with --notional")
    parser.add_argument("symbol", type=symbol, nargs="?", metavar="SYMBOL", help="of what (default: as the exchange)")
    price = parser.add_mutually_exclusive_group(required=True)
    price.add_argument("-p", "--price", type=decimal, metavar="P", help="no worse than this: a limit order")
    price.add_argument("--market", action="store_true", help="at whatever price there is, at once")
    parser.add_argument("--stop", type=decimal, metavar="P", help="wait until a trade reaches this price")
    parser.add_argument("--notional", type=decimal, metavar="N", help="with --market: how much to spend or to earn")
    parser.add_argument("--tif", choices=_TIMES, help="how long it may rest (default: GTC, until canceled)")
    parser.add_argument("--expires", type=future, metavar="TIME", help="for GTD, which it implies; in UTC")
    parser.add_argument("--post-only", action="store_true", help="refuse it rather than trade at once")
    parser.add_argument("--display", type=decimal, metavar="QUANTITY", help="show no more than this at a time")
    parser.add_argument("--protect", type=decimal, metavar="P", help="with --market: trade no further than this price")
    parser.add_argument("--stp", choices=_PREVENTIONS, help="when it would meet an order of its own account")
    parser.add_argument("-a", "--account", type=name, metavar="A", help="for whom (default: as the exchange)")
    parser.add_argument("--client-order-id", type=name, metavar="NAME", help="your name for it: placed once by it")
    add_json(parser)
    add_exchange(parser)
    parser.epilog = f"TIME: {MOMENTS.replace('how long ago', 'in how long')}."


def run(arguments: argparse.Namespace) -> int:
    _sort_out(arguments)
    fields = _fields(arguments)
    with exchange(arguments) as connected:
        placed = connected.place(**fields)
    if arguments.json:
        print_json(placed)
    else:
        print("\n".join(order_lines(placed)))
    return 0


def _sort_out(arguments: argparse.Namespace) -> None:
    """With --notional what stands alone is the symbol. Raises CommandError when it cannot be told what is meant."""
    if arguments.notional is not None and arguments.symbol is None:
        arguments.quantity, arguments.symbol = None, arguments.quantity
    if (arguments.quantity is None) == (arguments.notional is None):
        raise CommandError(
            "give either a QUANTITY or, with --market, --notional N: `pricetime order buy 1.5 --price 99`"
        )
    if arguments.notional is not None and not arguments.market:
        raise CommandError("--notional is for --market orders; a limit order has a QUANTITY")
    try:
        arguments.quantity = arguments.quantity and decimal(arguments.quantity)
        arguments.symbol = arguments.symbol and symbol(arguments.symbol)
    except argparse.ArgumentTypeError as error:
        raise CommandError(str(error)) from error


def _fields(arguments: argparse.Namespace) -> OrderFields:
    """Its type follows from its prices."""
    fields = {
        "side": arguments.side,
        "type": _type(arguments),
        "symbol": arguments.symbol,
        "quantity": arguments.quantity,
        "price": arguments.price,
        "stop_price": arguments.stop,
        "notional": arguments.notional,
        "time_in_force": arguments.tif or ("GTD" if arguments.expires else None),
        "expires_at": arguments.expires,
        "post_only": arguments.post_only or None,
        "display_quantity": arguments.display,
        "protection_price": arguments.protect,
        "self_trade_prevention": arguments.stp,
        "account": arguments.account,
        "client_order_id": arguments.client_order_id,
    }
    return cast(OrderFields, {name: value for name, value in fields.items() if value is not None})


def _type(arguments: argparse.Namespace) -> str:
    if arguments.stop is not None:
        return "stop" if arguments.market else "stop_limit"
    return "market" if arguments.market else "limit"
