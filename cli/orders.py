"""`pricetime orders`: open orders; others by their status; one with its whole life.

    pricetime orders
    pricetime orders --account anna --symbol BTC-USD
    pricetime orders --status filled -n 10
    pricetime orders 17

From Postgres by way of the gateway; while that is away, `pricetime journal --order 17` knows as much.
"""

import argparse
from typing import cast

from cli.options import ORDER, count, name, order, symbol
from cli.order_text import life, order_lines, order_table
from cli.rest import add_exchange, add_json, exchange, print_json
from pricetime_client import Exchange, Order
from pricetime_client.fields import OrderFilters

_STATUSES = ("open", "partially_filled", "filled", "canceled", "expired")
_LIMIT = 100


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("order", type=order, nargs="?", metavar="ORDER", help=f"one: {ORDER}")
    parser.add_argument("-a", "--account", type=name, metavar="A", help="whose")
    parser.add_argument("--symbol", type=symbol, metavar="S", help="of this instrument")
    parser.add_argument("--side", choices=("buy", "sell"), help="of this side")
    parser.add_argument(
        "--status", choices=(*_STATUSES, "any"), help="those that are so (default: open and partially_filled)"
    )
    parser.add_argument(
        "-n", "--last", type=count, default=_LIMIT, metavar="N", help="no more than the newest N (default: %(default)s)"
    )
    add_json(parser)
    add_exchange(parser)


def run(arguments: argparse.Namespace) -> int:
    with exchange(arguments) as connected:
        return _one(connected, arguments) if arguments.order is not None else _listed(connected, arguments)


def _one(connected: Exchange, arguments: argparse.Namespace) -> int:
    found = connected.order(arguments.order, account=arguments.account)
    if arguments.json:
        print_json(found)
        return 0
    print("\n".join([*order_lines(found), "", *life(connected.order_history(found.order_id))]))
    return 0


def _listed(connected: Exchange, arguments: argparse.Namespace) -> int:
    statuses = {None: ("open", "partially_filled"), "any": (None,)}.get(arguments.status, (arguments.status,))
    found = [order for status in statuses for order in _of_status(connected, arguments, status)]
    newest = sorted(found, key=lambda order: order.order_id, reverse=True)[: arguments.last]
    if arguments.json:
        for each in newest:
            print_json(each)
    elif newest:
        print("\n".join(order_table(newest)))
    else:
        print("there are no such orders" if arguments.status else "there are no open orders")
    return 0


def _of_status(connected: Exchange, arguments: argparse.Namespace, status: str | None) -> list[Order]:
    given = {
        "account": arguments.account,
        "symbol": arguments.symbol,
        "side": arguments.side,
        "status": status,
    }
    filters = {field: value for field, value in given.items() if value is not None}
    return connected.orders(limit=arguments.last, **cast(OrderFilters, filters))
