"""`pricetime demo`: an exchange as `pricetime up` runs it, with traders on it, so that there is something to see.

    pricetime demo
    pricetime demo --symbols BTC-USD --speed 5
    pricetime demo --replay orders.csv.xz --speed 60   an hour of a recorded day in a minute

The traders are the programs of demo/; they use the public interfaces only.
"""

import argparse
import re
import sys
from pathlib import Path

from cli import up
from cli.processes import Program
from cli.replay import read_events, speed
from cli.runfile import DEMO_DATA
from cli.stack import StackPlan
from contracts.messages import SYMBOL_PATTERN
from runtime.settings import CLIENT_KEY, Settings

SYMBOLS = (Settings().default_instrument, "ETH-USD", "SOL-USD")
_GOODBYE_SECONDS = 8.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--speed",
        type=speed,
        default=1.0,
        metavar="X",
        help="how busy the traders are, or with --replay how fast the day is: X times as usual (default: 1)",
    )
    parser.add_argument(
        "--symbols",
        type=_symbols,
        default=SYMBOLS,
        metavar="S,S",
        help=f"what they trade; listed if it is not (default: {','.join(SYMBOLS)})",
    )
    parser.add_argument(
        "--replay",
        type=Path,
        metavar="FILE",
        help="send the orders of a recorded day (csv or csv.xz, as for `pricetime replay`) to the first symbol, "
        "where nobody else trades then",
    )
    up.add_arguments(parser, DEMO_DATA)
    parser.epilog = (
        f"{parser.epilog} Where there are API keys the traders need one, with the scope admin: {CLIENT_KEY}."
    )


def run(arguments: argparse.Namespace) -> int:
    if arguments.replay is not None:
        next(read_events(arguments.replay), None)  # raises CommandError for what is no such file
    up.say(f"Traders for {', '.join(arguments.symbols)} join as soon as it is ready; the page shows them")
    return up.run_with(arguments, lambda plan: (traders(arguments, plan),))


def traders(arguments: argparse.Namespace, plan: StackPlan) -> Program:
    options = ["--url", plan.http_url, "--speed", str(arguments.speed), "--symbols", *arguments.symbols]
    if arguments.replay is not None:
        options += ["--replay", str(arguments.replay.absolute())]
    if plan.tls is not None:
        options += ["--certificate", str(plan.tls.cert)]
    return Program(
        name="traders",
        command=(sys.executable, "-P", "-m", "demo", *options),
        stop_seconds=_GOODBYE_SECONDS,
    )


def _symbols(text: str) -> tuple[str, ...]:
    symbols = tuple(dict.fromkeys(text.split(",")))
    for symbol in symbols:
        if not re.fullmatch(SYMBOL_PATTERN, symbol):
            raise argparse.ArgumentTypeError(f"{symbol!r} is not a symbol: give some as in BTC-USD,ETH-USD")
    return symbols
