"""`pricetime amend ORDER`: another price, quantity or stop price for an open order.

    pricetime amend 17 --price 99.60
    pricetime amend 17 --quantity 2          in all, what is filled included
    pricetime amend my-17 --account anna --quantity 2
    pricetime amend name:17 --price 99.60    your own name for it, where that is a number

The exchange says whether it kept its place in the book.
"""

import argparse
from typing import cast

from cli.errors import CommandError
from cli.options import ORDER, decimal, name, order
from cli.order_text import order_lines
from cli.rest import add_exchange, add_json, exchange, print_json
from pricetime_client import AmendFields


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("order", type=order, metavar="ORDER", help=ORDER)
    parser.add_argument("-p", "--price", type=decimal, metavar="P", help="the new price")
    parser.add_argument("-q", "--quantity", type=decimal, metavar="Q", help="the new quantity in all, fills included")
    parser.add_argument("--stop", type=decimal, metavar="P", help="the new stop price")
    parser.add_argument("-a", "--account", type=name, metavar="A", help="whose name for it that is")
    add_json(parser)
    add_exchange(parser)
    parser.epilog = "It keeps its place when only its quantity becomes less."


def run(arguments: argparse.Namespace) -> int:
    given = {"price": arguments.price, "quantity": arguments.quantity, "stop_price": arguments.stop}
    changes = {field: value for field, value in given.items() if value is not None}
    if not changes:
        raise CommandError("what is to be different? give --price P, --quantity Q or --stop P")
    with exchange(arguments) as connected:
        amended = connected.amend(arguments.order, account=arguments.account, **cast(AmendFields, changes))
    if arguments.json:
        print_json(amended)
    else:
        print("\n".join(order_lines(amended)))
    return 0
