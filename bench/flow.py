"""Seeded order flow: the commands that the measurements send. Deterministic: a seed always gives the same commands."""

from random import Random

from contracts.messages import (
    CancelOrder,
    Command,
    DefineInstrument,
    OrderType,
    Outcome,
    PlaceOrder,
    Refusal,
    Side,
    TimeInForce,
)
from matcher.engine import Engine

SYMBOL = "BTC-USD"
LISTING = DefineInstrument(SYMBOL, "0.01", "0.00000001")
"""The instrument that a new exchange lists by itself."""

_MIDDLE = 3_000_000
_NEAR = 20
"""How far from the middle an order rests, on average, in ticks."""
_REACH = 50
"""How far beyond the middle a taker's limit lies."""
_BEYOND_ALL = 50
"""The same in average distances, where nothing is canceled: orders out of every taker's reach would fill the book in
the end."""
_LOT = 1_000_000


class Flow:
    """Orders that rest, cancels and takers around one price, without end.

    The flow keeps an engine of its own, so it knows what rests: an exchange that is given these commands alone, in
    this order, accepts every one of them. `cancels` is the share of cancels among the commands that make the book
    smaller; with 0 the flow is orders alone, and any exchange accepts it.
    """

    def __init__(self, seed: int, *, cancels: float = 0.7, resting: int = 1_000, near: int = _NEAR) -> None:
        self._random = Random(seed)
        self._near = near
        self._cancels = cancels
        self._reach = _REACH if cancels else int(_BEYOND_ALL * near)
        self._resting = resting
        self._engine = Engine()
        self._engine.apply(LISTING, 0)
        self._placed: list[int] = []

    def next_commands(self, count: int) -> list[Command]:
        return [self._next_command() for _ in range(count)]

    def _next_command(self) -> Command:
        if self._wants_more():
            return self._rest()
        if self._random.random() < self._cancels:
            return self._cancel()
        return self._take()

    def _wants_more(self) -> bool:
        """Half of the time, while the book is about as large as it should be."""
        resting = self._engine.resting_orders
        if resting < self._resting:
            return True
        return resting < 2 * self._resting and self._random.random() < 0.5

    def _rest(self) -> Command:
        side = self._side()
        distance = 1 + int(self._random.expovariate(1 / self._near))
        command = self._order(side, -distance, TimeInForce.GTC)
        outcome = self._engine.apply(command, 0)
        assert isinstance(outcome, Outcome)
        self._placed.append(outcome.events[0].order_id)  # type: ignore[union-attr]
        return command

    def _take(self) -> Command:
        command = self._order(self._side(), self._reach, TimeInForce.IOC)
        self._engine.apply(command, 0)
        return command

    def _cancel(self) -> Command:
        """Of any order that still rests, each as likely."""
        while True:
            number = self._random.randrange(len(self._placed))
            self._placed[number], self._placed[-1] = self._placed[-1], self._placed[number]
            command = CancelOrder(self._placed.pop())
            if not isinstance(self._engine.apply(command, 0), Refusal):
                return command

    def _side(self) -> Side:
        return Side.BUY if self._random.random() < 0.5 else Side.SELL

    def _order(self, side: Side, beyond_middle: int, time_in_force: TimeInForce) -> PlaceOrder:
        price = _MIDDLE + (beyond_middle if side is Side.BUY else -beyond_middle)
        quantity = _LOT * self._random.randint(1, 100)
        return PlaceOrder(SYMBOL, side, OrderType.LIMIT, quantity, price, time_in_force)
