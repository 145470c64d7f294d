"""`pricetime cancel`: take orders out of the book.

    pricetime cancel 17 18
    pricetime cancel my-17 --account anna
    pricetime cancel name:17                 your own name for it, where that is a number
    pricetime cancel --all --account anna --symbol BTC-USD
    pricetime cancel --all --every-account

Canceling what was not meant cannot be undone, so --all wants to be told whose.
"""

import argparse
from typing import cast

from cli.errors import CommandError
from cli.options import ORDER, name, order, symbol
from cli.order_text import order_lines
from cli.rest import add_exchange, add_json, each_of, exchange, print_json
from pricetime_client import Exchange
from pricetime_client.fields import CancelAllFilters


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("orders", type=order, nargs="*", metavar="ORDER", help=ORDER)
    parser.add_argument("--all", action="store_true", help="every open order that fits, instead")
    parser.add_argument("-a", "--account", type=name, metavar="A", help="whose")
    parser.add_argument("--every-account", action="store_true", help="with --all: whosever they are, as far as you may")
    parser.add_argument("--symbol", type=symbol, metavar="S", help="with --all: of this instrument only")
    parser.add_argument("--side", choices=("buy", "sell"), help="with --all: of this side only")
    add_json(parser)
    add_exchange(parser)


def run(arguments: argparse.Namespace) -> int:
    _check(arguments)
    with exchange(arguments) as connected:
        return _cancel_all(connected, arguments) if arguments.all else _cancel_each(connected, arguments)


def _check(arguments: argparse.Namespace) -> None:
    """Before anything is sent: what cancels more than was meant cannot be undone."""
    if arguments.all == bool(arguments.orders):
        raise CommandError("which orders? give their ids, as `pricetime orders` shows them, or --all")
    if not arguments.all and (arguments.symbol or arguments.side or arguments.every_account):
        raise CommandError("--symbol, --side and --every-account choose among --all")
    if arguments.all and bool(arguments.account) == arguments.every_account:
        raise CommandError("whose orders? give --account A, or --every-account")


def _cancel_all(connected: Exchange, arguments: argparse.Namespace) -> int:
    given = {"account": arguments.account, "symbol": arguments.symbol, "side": arguments.side}
    filters = {field: value for field, value in given.items() if value is not None}
    done = connected.cancel_all(**cast(CancelAllFilters, filters))
    if arguments.json:
        print_json(done)
    else:
        print(f"{done.canceled} order{'' if done.canceled == 1 else 's'} canceled")
    return 0


def _cancel_each(connected: Exchange, arguments: argparse.Namespace) -> int:
    def cancel(one: int | str) -> None:
        canceled = connected.cancel(one, account=arguments.account)
        if arguments.json:
            print_json(canceled)
        else:
            print("\n".join(order_lines(canceled)))

    return each_of(arguments.orders, cancel, lambda one: f"order {one}")
