"""The floor under the engine: the same flow through the least that can be called an order book.

It matches in price-time priority and cancels, and nothing else: no outcomes, no ids but the position in a list, no
rules, no checks. What the engine takes longer is the price of everything that makes it an exchange.
"""

from collections import deque
from collections.abc import Iterable, Sequence

from sortedcontainers import SortedDict

from contracts.messages import CancelOrder, Command, PlaceOrder, Side, TimeInForce

Operation = tuple[int, int, int, bool]
"""(sign, price, quantity, rests) of an order, with sign -1 to buy and 1 to sell; (0, number of the order, ...) to
cancel, counting orders from 1."""


def bare_operations(commands: Iterable[Command]) -> list[Operation]:
    return [_operation(command) for command in commands]


def _operation(command: Command) -> Operation:
    match command:
        case CancelOrder():
            return 0, command.order_id, 0, False
        case PlaceOrder(price=int(price)):
            sign = -1 if command.side is Side.BUY else 1
            return sign, price, command.quantity, command.time_in_force is TimeInForce.GTC
        case _:
            raise ValueError(f"the bare book cannot do {command}")


class _Level:
    __slots__ = ("key", "queue", "side", "total")

    def __init__(self, side: "SortedDict[int, _Level]", key: int) -> None:
        self.side = side
        self.key = key
        self.queue: deque[_Rest] = deque()
        self.total = 0


_Rest = list[int]
"""[what remains of a resting order]; a canceled one stays in its queue with 0."""


class BareBook:
    """`trades` counts them."""

    def __init__(self) -> None:
        self._bids: SortedDict[int, _Level] = SortedDict()
        self._asks: SortedDict[int, _Level] = SortedDict()
        self._orders: list[tuple[_Rest, _Level] | None] = [None]
        self.trades = 0

    def run(self, operations: Sequence[Operation]) -> None:
        for sign, price, quantity, rests in operations:
            if not sign:
                self._cancel(price)
                continue
            own, makers = (self._bids, self._asks) if sign < 0 else (self._asks, self._bids)
            left = self._take(makers, -price * sign, quantity) if makers else quantity
            self._orders.append(self._rest(own, price * sign, left) if left and rests else None)

    def depth(self, side: Side) -> list[tuple[int, int]]:
        """(price, quantity), best first."""
        levels, sign = (self._bids, -1) if side is Side.BUY else (self._asks, 1)
        return [(key * sign, level.total) for key, level in levels.items()]

    def _rest(self, side: "SortedDict[int, _Level]", key: int, quantity: int) -> tuple[_Rest, _Level]:
        level = side.get(key)
        if level is None:
            level = side[key] = _Level(side, key)
        order = [quantity]
        level.queue.append(order)
        level.total += quantity
        return order, level

    def _cancel(self, number: int) -> None:
        found = self._orders[number]
        assert found is not None
        order, level = found
        level.total -= order[0]
        order[0] = 0
        if not level.total:
            del level.side[level.key]

    def _take(self, makers: "SortedDict[int, _Level]", limit: int, quantity: int) -> int:
        """Returns what is left of the taker. `limit` is the worst key it takes."""
        while makers:
            key, level = makers.peekitem(0)
            if key > limit:
                break
            quantity = self._take_level(level, quantity)
            if level.total:
                break
            del makers[key]
        return quantity

    def _take_level(self, level: _Level, quantity: int) -> int:
        queue, before = level.queue, quantity
        while quantity and queue:
            maker = queue[0]
            if maker[0] > quantity:
                maker[0] -= quantity
                quantity = 0
                self.trades += 1
            else:
                quantity -= maker[0]
                self.trades += maker[0] > 0
                maker[0] = 0
                queue.popleft()
        level.total -= before - quantity
        return quantity
