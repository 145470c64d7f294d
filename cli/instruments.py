"""`pricetime instruments`: what can be traded, and whether; and for who administers it, how.

    pricetime instruments
    pricetime instruments define ETH-USD --tick-size 0.01 --lot-size 0.001 --band 1000
    pricetime instruments halt ETH-USD            no order can be placed, amended or canceled
    pricetime instruments cancel-only ETH-USD     people may get out
    pricetime instruments post-only ETH-USD       orders may rest, none may trade
    pricetime instruments resume ETH-USD
    pricetime instruments delist ETH-USD --yes    for good

Anybody may look; the rest needs a key with the scope admin, once there are keys.
"""

import argparse
from typing import Any, cast

from cli.errors import CommandError
from cli.options import count, decimal, symbol
from cli.rest import add_exchange, add_json, exchange, print_json
from cli.tables import columns
from pricetime_client import Exchange, Instrument
from pricetime_client.fields import InstrumentFields
from pricetime_client.views import InstrumentStatus

_STATUSES: dict[str, tuple[InstrumentStatus, str]] = {
    "halt": ("halted", "freeze it: no order can be placed, amended or canceled"),
    "cancel-only": ("cancel_only", "let orders be canceled, and nothing else"),
    "post-only": ("post_only", "let orders rest, but not trade"),
    "resume": ("trading", "let it trade again"),
    "delist": ("delisted", "end it for good: its orders are canceled"),
}
_RULES = (
    ("min-quantity", "Q", decimal, "the smallest order (default: one lot)"),
    ("max-quantity", "Q", decimal, "the largest order (default: the exchange's own)"),
    ("lowest-price", "P", decimal, "no order below it (default: none)"),
    ("highest-price", "P", decimal, "no order above it (default: none)"),
    ("band", "N", count, "prices stay within so many hundredths of a percent of the last trade (default: none)"),
)
_HEAD = ("SYMBOL", "STATUS", "TICK", "LOT", "MIN", "MAX", "LOWEST", "HIGHEST", "BAND")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    common = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)  # or they undo the ones above
    _add_common(common)
    actions = parser.add_subparsers(dest="action", metavar="ACTION", title="actions (without one: list them)")
    define = actions.add_parser(
        "define", help="list one, or replace the limits of one that is listed", parents=[common]
    )
    define.add_argument("symbol", type=symbol, metavar="SYMBOL", help="which")
    for name in ("tick", "lot"):
        define.add_argument(
            f"--{name}-size",
            type=decimal,
            metavar="N",
            help=f"the smallest step of a {'price' if name == 'tick' else 'quantity'}, for good",
        )
    for name, metavar, kind, help in _RULES:
        define.add_argument(f"--{name}", type=kind, metavar=metavar, help=help)
    for name, (_, help) in _STATUSES.items():
        action = actions.add_parser(name, help=help, parents=[common])
        action.add_argument("symbol", type=symbol, metavar="SYMBOL", help="which")
        if name == "delist":
            action.add_argument("--yes", action="store_true", help="say that it is meant: it cannot be undone")
    parser.add_argument("--names", action="store_true", help="the symbols and nothing else")
    _add_common(parser)


def _add_common(parser: argparse.ArgumentParser) -> None:
    add_json(parser)
    add_exchange(parser)


def run(arguments: argparse.Namespace) -> int:
    if arguments.action == "delist" and not arguments.yes:
        raise CommandError(
            f"delisting is for good, and cancels every order of {arguments.symbol}: say --yes if that is meant "
            f"(`pricetime instruments halt {arguments.symbol}` can be undone)"
        )
    with exchange(arguments) as connected:
        found = _done(connected, arguments)
    if arguments.json:
        for each in found:
            print_json(each)
    elif arguments.names:
        print("\n".join(each.symbol for each in found))
    else:
        print("\n".join(columns(_HEAD, [_row(each) for each in found])))
    return 0


def _done(connected: Exchange, arguments: argparse.Namespace) -> list[Instrument]:
    match arguments.action:
        case None:
            return connected.instruments()
        case "define":
            return [connected.define_instrument(arguments.symbol, **_rules(connected, arguments))]
        case action:
            return [connected.set_instrument_status(arguments.symbol, _STATUSES[action][0])]


def _rules(connected: Exchange, arguments: argparse.Namespace) -> InstrumentFields:
    """All limits are replaced; sizes, which never change, need not be said again."""
    listed = {each.symbol: each for each in connected.instruments()}.get(arguments.symbol)
    fields: dict[str, Any] = {
        "tick_size": arguments.tick_size or (listed and listed.tick_size),
        "lot_size": arguments.lot_size or (listed and listed.lot_size),
        "min_quantity": arguments.min_quantity,
        "max_quantity": arguments.max_quantity,
        "lowest_price": arguments.lowest_price,
        "highest_price": arguments.highest_price,
        "band_basis_points": arguments.band,
    }
    if not fields["tick_size"] or not fields["lot_size"]:
        raise CommandError(f"{arguments.symbol} is not listed yet: give --tick-size and --lot-size, such as 0.01")
    return cast(InstrumentFields, {name: value for name, value in fields.items() if value is not None})


def _row(instrument: Instrument) -> tuple[str, ...]:
    band = instrument.band_basis_points
    numbers = (
        instrument.tick_size,
        instrument.lot_size,
        instrument.min_quantity,
        instrument.max_quantity,
        instrument.lowest_price,
        instrument.highest_price,
    )
    return (
        instrument.symbol,
        instrument.status,
        *("-" if each is None else format(each, "f") for each in numbers),
        "-" if band is None else f"{band / 100:g} %",
    )
