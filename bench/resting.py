"""A process with many resting orders: how much memory they take, and how fast the engine is with them.

    python -m bench.resting memory KIND COUNT    # prints bytes for each order; KIND: engine, named or bare
    python -m bench.resting flow COUNT           # for each line, a number of commands, prints the seconds of both

A process of its own, because memory that others have used and given back would be used first.
"""

import gc
import json
import sys
import time
from collections.abc import Callable, Iterator
from itertools import islice
from random import Random

import msgspec
import psutil

from bench.floors import BareBook, bare_operations
from bench.flow import LISTING, SYMBOL, Flow
from bench.scale import SEED
from contracts.messages import Command, OrderType, Outcome, PlaceOrder, Side
from matcher.engine import Engine

_MIDDLE = 3_000_000
_ACCOUNTS = 1_000
_TIME = 1_700_000_000_000_000
_PER_COMMIT = 20
"""Orders of one time, as the matcher takes them under load."""
_AT_A_TIME = 1_000
_ORDERS_PER_TICK = 50
"""Orders rest as densely at any number of them: more orders are more price levels, too."""


def resting_orders(count: int, named: bool) -> Iterator[PlaceOrder]:
    """As the matcher gets them, decoded one by one; `named`: each with its client's own id."""
    random = Random(SEED)
    encoder, decoder = msgspec.msgpack.Encoder(), msgspec.msgpack.Decoder(PlaceOrder)
    for number in range(count):
        side = Side.BUY if random.random() < 0.5 else Side.SELL
        away = 1 + int(random.expovariate(_ORDERS_PER_TICK / count))
        price = _MIDDLE + (-away if side is Side.BUY else away)
        account = f"account-{random.randrange(_ACCOUNTS)}"
        client_order_id = f"order-{number}" if named else None
        order = PlaceOrder(
            SYMBOL,
            side,
            OrderType.LIMIT,
            random.randint(1, 10**8),
            price,
            account=account,
            client_order_id=client_order_id,
        )
        yield decoder.decode(encoder.encode(order))


def fill_engine(orders: Iterator[PlaceOrder]) -> Engine:
    engine = Engine()
    engine.apply(LISTING, 0)
    time = _TIME
    while commit := list(islice(orders, _PER_COMMIT)):
        time += 1
        assert all(isinstance(engine.apply(order, time), Outcome) for order in commit)
    return engine


def fill_bare_book(orders: Iterator[PlaceOrder]) -> BareBook:
    book = BareBook()
    while some := list(islice(orders, _AT_A_TIME)):
        book.run(bare_operations(some))
    return book


def memory(kind: str, count: int) -> float:
    """Bytes that the process grew by for each order."""
    fill: Callable[[Iterator[PlaceOrder]], Engine | BareBook] = fill_bare_book if kind == "bare" else fill_engine
    process = psutil.Process()
    fill(resting_orders(_AT_A_TIME, kind == "named"))  # whatever is made once is made now
    gc.collect()
    before = process.memory_info().rss
    filled = fill(resting_orders(count, kind == "named"))
    gc.collect()
    grown: int = process.memory_info().rss - before
    assert filled is not None
    return grown / count


class Resting:
    """An engine and a bare book with so many orders, and the plain flow to go on with."""

    def __init__(self, count: int) -> None:
        self._flow = Flow(SEED, resting=count, near=max(1, count // _ORDERS_PER_TICK))
        self._engine = Engine()
        self._engine.apply(LISTING, 0)
        self._book = BareBook()
        while self._engine.resting_orders < count:
            commands = self._flow.next_commands(_AT_A_TIME)
            self._apply(commands)
            self._book.run(bare_operations(commands))

    def seconds(self, count: int) -> tuple[float, float]:
        """Of processor, for the next so many commands: the engine's and the bare book's."""
        commands = self._flow.next_commands(count)
        operations = bare_operations(commands)
        gc.collect()
        started = time.thread_time()
        self._apply(commands)
        between = time.thread_time()
        self._book.run(operations)
        return between - started, time.thread_time() - between

    def _apply(self, commands: list[Command]) -> None:
        apply = self._engine.apply
        for command in commands:
            apply(command, 0)


def main(what: str, *arguments: str) -> None:
    if what == "memory":
        print(json.dumps(memory(arguments[0], int(arguments[1]))))
        return
    resting = Resting(int(arguments[0]))
    for line in sys.stdin:
        print(json.dumps(resting.seconds(int(line))), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
