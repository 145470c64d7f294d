"""Traders for a running exchange: `python -m demo --url http://127.0.0.1:8000`. `pricetime demo` starts both.

PRICETIME_KEY in the environment is the API key, where there are keys: one with the scope admin, or trade for every
account.
"""

import argparse
import asyncio
import os
import signal
import ssl
import sys
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from demo.market_maker import MarketMaker
from demo.markets import Market, opened
from demo.momentum import MomentumTrader
from demo.noise import NoiseTraders
from demo.replay import Replay
from pricetime_client import AsyncExchange, ExchangeError

Job = Coroutine[Any, Any, None]


class Trader(Protocol):
    def run(self, speed: float) -> Job: ...


TRADERS: dict[str, Callable[[AsyncExchange, Market], Trader]] = {
    "market-maker": MarketMaker,
    "noise": NoiseTraders,
    "momentum": MomentumTrader,
}
"""By their accounts."""
REPLAY = "replay"
_GOODBYE_SECONDS = 3.0


def main() -> int:
    arguments = _parser().parse_args()
    gave_up = 0
    try:
        asyncio.run(_trade(arguments))
    except* ExchangeError as errors:
        print(f"ERROR the traders gave up: {_first(errors)}", file=sys.stderr)
        gave_up = 1
    return gave_up


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m demo", description="Simulated traders for a running exchange.")
    parser.add_argument("--url", default="http://127.0.0.1:8000", help="of its REST (default: %(default)s)")
    parser.add_argument("--symbols", nargs="+", default=["BTC-USD"], metavar="S", help="what they trade")
    parser.add_argument("--speed", type=_speed, default=1.0, metavar="X", help="how busy they, or the day, are")
    parser.add_argument("--replay", type=Path, metavar="FILE", help="a recorded day, sent to the first symbol instead")
    parser.add_argument("--certificate", type=Path, metavar="FILE", help="the one that the exchange shows, as PEM")
    return parser


def _speed(text: str) -> float:
    speed = float(text)
    if not 0 < speed < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not above zero")
    return speed


async def _trade(arguments: argparse.Namespace) -> None:
    """Until SIGTERM or Ctrl-C; then the orders of all traders are canceled."""
    verify = _pinned(arguments.certificate) if arguments.certificate else True
    open_exchange = partial(AsyncExchange, arguments.url, key=os.environ.get("PRICETIME_KEY"), verify=verify)
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    async with AsyncExitStack() as connections:
        exchanges = [
            await connections.enter_async_context(open_exchange(account=account)) for account in (*TRADERS, REPLAY)
        ]
        jobs = await _jobs(arguments, dict(zip((*TRADERS, REPLAY), exchanges, strict=True)))
        try:
            await _until(stopped, jobs)
        finally:
            await asyncio.gather(*(_leave(exchange) for exchange in exchanges))


async def _jobs(arguments: argparse.Namespace, exchanges: dict[str, AsyncExchange]) -> list[Job]:
    first, *others = arguments.symbols
    jobs: list[Job] = []
    if arguments.replay is not None:
        await opened(exchanges[REPLAY], first)
        jobs.append(Replay(exchanges[REPLAY], first, arguments.replay).run(arguments.speed))
    usual = arguments.speed if arguments.replay is None else 1.0
    for symbol in others if arguments.replay else arguments.symbols:
        market = await opened(exchanges["market-maker"], symbol)
        print(f"trading {symbol} from {market.price}", flush=True)
        jobs += [new_trader(exchanges[name], market).run(usual) for name, new_trader in TRADERS.items()]
    return jobs


async def _until(stopped: asyncio.Event, jobs: list[Job]) -> None:
    """Raises what a trader cannot go on with."""
    async with asyncio.TaskGroup() as tasks:
        trading = [tasks.create_task(job) for job in jobs]
        await stopped.wait()
        for each in trading:
            each.cancel()


async def _leave(exchange: AsyncExchange) -> None:
    """If the exchange has gone already the orders stay; the next start cancels them."""
    with suppress(ExchangeError, TimeoutError):
        await asyncio.wait_for(exchange.cancel_all(), _GOODBYE_SECONDS)


def _pinned(certificate: Path) -> ssl.SSLContext:
    """Who holds its key is the one meant, whatever name it is reached by."""
    context = ssl.create_default_context(cafile=str(certificate))
    context.check_hostname = False
    context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
    return context


def _first(errors: BaseExceptionGroup[Any]) -> BaseException:
    found: BaseException = errors
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    return found


if __name__ == "__main__":
    sys.exit(main())
