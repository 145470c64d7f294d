"""Order books of others under one interface, and the process in which one of them is measured.

Standard library alone: this file is run by the Python of the engine's own environment, which has nothing of ours. What
an engine needs to be told and what it takes for an order is written here once, as its own documentation does it.

    python peer_engines.py ENGINE OPERATIONS    # OPERATIONS: a file, as `Operation` says

It reads a line for each thing to do, `check COUNT` or `time COUNT SECONDS`, and answers each with a line of JSON.
"""

import gc
import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

Operation = tuple[int, int, int, int]
"""(1 to buy or -1 to sell, price, quantity, 1 if it may rest); or (0, number of the order to cancel, 0, 0), counting
from 0."""

Fills = dict[int, int]
"""Price and quantity of what one order traded when it came."""

SYMBOL = "BTC-USD"
_LOOK_EVERY = 50
"""Operations between two looks at the clock."""


class Peer(Protocol):
    """`price` turns a whole number of ticks into what `place` wants, before the clock runs."""

    def price(self, ticks: int) -> Any: ...

    def place(self, buys: bool, price: Any, quantity: int) -> Any:
        """Returns what `cancel` wants."""

    def cancel(self, order: Any) -> Any: ...

    def fills(self) -> Fills:
        """Of the order placed last."""


def _sum(pairs: Any) -> Fills:
    total: Counter[int] = Counter()
    for price, quantity in pairs:
        total[int(price)] += int(quantity)
    return dict(total)


class LightMatchingEngine:
    def __init__(self) -> None:
        module = import_module("lightmatchingengine.lightmatchingengine")
        self._engine = module.LightMatchingEngine()
        self._buy, self._sell = module.Side.BUY, module.Side.SELL
        self._order: Any = None
        self._trades: Any = ()

    def price(self, ticks: int) -> int:
        return ticks

    def place(self, buys: bool, price: int, quantity: int) -> Any:
        order, self._trades = self._engine.add_order(SYMBOL, price, quantity, self._buy if buys else self._sell)
        self._order = order
        return order.order_id

    def cancel(self, order: Any) -> Any:
        assert self._engine.cancel_order(order, SYMBOL) is not None

    def fills(self) -> Fills:
        """A match makes one trade of each side; the taker's are those with its id."""
        own = [each for each in self._trades if each.order_id == self._order.order_id]
        return _sum((each.trade_price, each.trade_qty) for each in own)


class PyOrderBook:
    def __init__(self) -> None:
        module = import_module("pyorderbook")
        self._book = module.Book()
        self._bid, self._ask = module.bid, module.ask
        self._blotter: Any = None

    def price(self, ticks: int) -> int:
        return ticks

    def place(self, buys: bool, price: int, quantity: int) -> Any:
        order = (self._bid if buys else self._ask)(SYMBOL, price, quantity)
        self._blotter = self._book.match(order)
        return order

    def cancel(self, order: Any) -> Any:
        self._book.cancel(order)

    def fills(self) -> Fills:
        return _sum((each.fill_price, each.fill_quantity) for each in self._blotter.trades)


class Akhil4nOrderBook:
    def __init__(self) -> None:
        module = import_module("orderbook")
        self._book = module.OrderBook()
        self._order = module.Order
        self._bid, self._ask = module.OrderSide.BID, module.OrderSide.ASK
        self._traded = 0

    def price(self, ticks: int) -> Decimal:
        return Decimal(ticks)

    def place(self, buys: bool, price: Decimal, quantity: int) -> Any:
        order = self._order(side=self._bid if buys else self._ask, price=price, original_quantity=quantity)
        self._book.add_limit_order(order)
        return order.order_id

    def cancel(self, order: Any) -> Any:
        assert self._book.cancel_order(order)

    def fills(self) -> Fills:
        """The book keeps one log of all trades."""
        new, self._traded = self._book.trade_log[self._traded :], len(self._book.trade_log)
        return _sum((each.price, each.quantity_filled) for each in new)


class CythonOrderBook:
    def __init__(self) -> None:
        module = import_module("cython_orderbook")
        self._book = module.OrderBook()
        self._make = module.Order
        self._bid, self._ask = module.OrderSide.BID, module.OrderSide.ASK
        self._order: Any = None

    def price(self, ticks: int) -> Decimal:
        return Decimal(ticks)

    def place(self, buys: bool, price: Decimal, quantity: int) -> Any:
        order = self._make(side=self._bid if buys else self._ask, price=price, original_quantity=quantity)
        self._book.add_limit_order(order)
        self._order = order
        return order.order_id

    def cancel(self, order: Any) -> Any:
        assert self._book.cancel_order(order)

    def fills(self) -> Fills:
        """The quantity alone, under price 0: it tells its trades to nobody but by printing them."""
        filled = self._order.original_quantity - self._order.remaining_quantity
        return {0: filled} if filled else {}


class Lobby:
    def __init__(self) -> None:
        self._book = import_module("lobby.orderbook").OrderBook(price_digits=0)
        self._trades: Any = ()
        self._placed = 0

    def price(self, ticks: int) -> int:
        return ticks

    def place(self, buys: bool, price: int, quantity: int) -> Any:
        self._placed += 1
        side = "bid" if buys else "ask"
        quote = {"type": "limit", "side": side, "qty": quantity, "price": price, "tid": self._placed}
        self._trades, rests = self._book.processOrder(quote, False, False)
        return None if rests is None else (side, rests["idNum"])

    def cancel(self, order: Any) -> Any:
        self._book.cancelOrder(*order)

    def fills(self) -> Fills:
        return _sum((each["price"], each["qty"]) for each in self._trades)


class FastLob:
    """`fastlob` starts a thread that looks for expired orders; without it it takes none."""

    def __init__(self) -> None:
        module = import_module("fastlob")
        self._book = module.Orderbook(start=True)
        self._params = module.OrderParams
        self._bid, self._ask = module.OrderSide.BID, module.OrderSide.ASK
        self._kinds = module.ResultType
        self._result: Any = None

    def price(self, ticks: int) -> int:
        return ticks

    def place(self, buys: bool, price: int, quantity: int) -> Any:
        result = self._book(self._params(self._bid if buys else self._ask, price, quantity))
        self._result = result
        return result.orderid()

    def cancel(self, order: Any) -> Any:
        assert self._book.cancel(order).success()

    def fills(self) -> Fills:
        traded = self._result.kind() in (self._kinds.MARKET, self._kinds.PARTIAL_MARKET)
        return _sum(self._result.execprices().items()) if traded else {}

    def close(self) -> None:
        self._book.stop()


class ManticoreOrderBook:
    """Without its log to the console, and its clock that looks for expired orders as it comes."""

    def __init__(self) -> None:
        module = import_module("manticore_orderbook")
        import_module("logging").disable(100)
        self._book = module.OrderBook(SYMBOL, enable_logging=False)
        self._last: Fills = {}
        self._book.event_manager.subscribe(module.EventType.TRADE_EXECUTED, self._on_trade)

    def _on_trade(self, _kind: Any, trade: Any) -> None:
        price = int(trade["price"])
        self._last[price] = self._last.get(price, 0) + int(trade["quantity"])

    def price(self, ticks: int) -> int:
        return ticks

    def place(self, buys: bool, price: int, quantity: int) -> Any:
        self._last = {}
        return self._book.add_order("buy" if buys else "sell", price, quantity)

    def cancel(self, order: Any) -> Any:
        assert self._book.cancel_order(order)

    def fills(self) -> Fills:
        return self._last

    def close(self) -> None:
        self._book.expiry_manager.stop()


class OrderMatching:
    """An order is placed and matched at once, as its first example does; every order has a time of its own."""

    def __init__(self) -> None:
        self._engine = import_module("order_matching.matching_engine").MatchingEngine(seed=1)
        self._order = import_module("order_matching.order").LimitOrder
        self._orders = import_module("order_matching.orders").Orders
        side = import_module("order_matching.enums").Side
        self._buy, self._sell = side.BUY, side.SELL
        import_module("loguru").logger.disable("order_matching")
        self._time = datetime(2026, 1, 1)
        self._placed = 0
        self._trades: Any = None

    def price(self, ticks: int) -> float:
        return float(ticks)

    def place(self, buys: bool, price: float, quantity: int) -> Any:
        self._placed += 1
        self._time += timedelta(microseconds=1)
        name = str(self._placed)
        side = self._buy if buys else self._sell
        order = self._order(side=side, price=price, size=quantity, timestamp=self._time, order_id=name, trader_id="x")
        self._engine.place(orders=self._orders([order]))
        self._trades = self._engine.match(timestamp=self._time)
        return name

    def cancel(self, order: Any) -> Any:
        self._engine.cancel_order(order)

    def fills(self) -> Fills:
        return _sum((each.price, each.size) for each in self._trades.trades)


class LiteBook:
    def __init__(self) -> None:
        module = import_module("litebook")
        self._book = module.OrderBook(tick_size=1.0)
        self._buy, self._sell = module.OrderType.Buy, module.OrderType.Sell
        self._trades: Any = ()

    def price(self, ticks: int) -> float:
        return float(ticks)

    def place(self, buys: bool, price: float, quantity: int) -> Any:
        order = self._book.create_order(self._buy if buys else self._sell, price, float(quantity))
        self._trades = self._book.add(order)
        return order.id

    def cancel(self, order: Any) -> Any:
        assert self._book.cancel(order)

    def fills(self) -> Fills:
        return _sum((round(each.price), round(each.quantity)) for each in self._trades)


class Bourse:
    def __init__(self) -> None:
        self._book = import_module("bourse").core.OrderBook(0, 1, True)
        self._time = 0
        self._traded = 0

    def price(self, ticks: int) -> int:
        return ticks

    def place(self, buys: bool, price: int, quantity: int) -> Any:
        self._time += 1
        self._book.set_time(self._time)
        return self._book.place_order(buys, quantity, 0, price=price)

    def cancel(self, order: Any) -> Any:
        self._book.cancel_order(order)

    def fills(self) -> Fills:
        trades = self._book.get_trades()
        new, self._traded = trades[self._traded :], len(trades)
        return _sum((each[2], each[3]) for each in new)


class Pricetime:
    """Ours, from the repository: with ids, outcomes, rules and checks."""

    def __init__(self) -> None:
        messages = import_module("contracts.messages")
        self._engine = import_module("matcher.engine").Engine()
        self._engine.apply(messages.DefineInstrument(SYMBOL, "1", "1"), 0)
        self._place, self._cancel = messages.PlaceOrder, messages.CancelOrder
        self._buy, self._sell = messages.Side.BUY, messages.Side.SELL
        self._limit = messages.OrderType.LIMIT
        self._trade = messages.TradeExecuted
        self._outcome: Any = None

    def price(self, ticks: int) -> int:
        return ticks

    def place(self, buys: bool, price: int, quantity: int) -> Any:
        command = self._place(SYMBOL, self._buy if buys else self._sell, self._limit, quantity, price)
        self._outcome = outcome = self._engine.apply(command, 0)
        return outcome.events[0].order_id

    def cancel(self, order: Any) -> Any:
        assert self._engine.apply(self._cancel(order), 0).events

    def fills(self) -> Fills:
        trades = [each for each in self._outcome.events if isinstance(each, self._trade)]
        return _sum((each.price, each.quantity) for each in trades)


PEERS: dict[str, Callable[[], Peer]] = {
    "pricetime": Pricetime,
    "lightmatchingengine": LightMatchingEngine,
    "pyorderbook": PyOrderBook,
    "akhil4n-orderbook": Akhil4nOrderBook,
    "lobby": Lobby,
    "fastlob": FastLob,
    "manticore-orderbook": ManticoreOrderBook,
    "order-matching": OrderMatching,
    "cython-orderbook": CythonOrderBook,
    "litebook": LiteBook,
    "bourse": Bourse,
}


def checked(make: Callable[[], Peer], operations: Sequence[Operation]) -> list[Fills]:
    """What each order traded when it came, in order."""
    peer = make()
    orders: list[Any] = []
    found = []
    for side, price, quantity, _ in operations:
        if side:
            orders.append(peer.place(side > 0, peer.price(price), quantity))
            found.append(peer.fills())
        else:
            peer.cancel(orders[price])
    _close(peer)
    return found


class Timing:
    """One engine, going through the operations from their beginning; what it has done it does not do again."""

    def __init__(self, make: Callable[[], Peer], operations: Sequence[Operation]) -> None:
        self._peer = make()
        self._orders: list[Any] = []
        self._ready = [
            (side, self._peer.price(price) if side else price, quantity) for side, price, quantity, _ in operations
        ]
        self._position = 0

    def go_on(self, count: int, seconds: float) -> tuple[int, float]:
        """Does the next so many operations, or as many as `seconds` of processor are enough for.

        How many it has done, and the seconds that they took.
        """
        gc.collect()
        begin, end, spent = self._position, min(self._position + count, len(self._ready)), 0.0
        while self._position < end and spent < seconds:
            part = self._ready[self._position : min(self._position + _LOOK_EVERY, end)]
            started = time.process_time()
            self._run(part)
            spent += time.process_time() - started
            self._position += len(part)
        return self._position - begin, spent

    def _run(self, operations: Sequence[tuple[int, Any, int]]) -> None:
        place, cancel, orders = self._peer.place, self._peer.cancel, self._orders
        for side, price, quantity in operations:
            if side:
                orders.append(place(side > 0, price, quantity))
            else:
                cancel(orders[price])


def _close(peer: Peer) -> None:
    close = getattr(peer, "close", None)
    if close is not None:
        close()


def main(name: str, file: Path) -> None:
    make, operations = PEERS[name], [tuple(each) for each in json.loads(file.read_text())]
    answers = sys.stdout
    sys.stdout = sys.stderr  # an engine that prints must not answer for us
    timing: Timing | None = None
    for line in sys.stdin:
        what, count, *seconds = line.split()
        if what == "check":
            result: Any = [sorted(each.items()) for each in checked(make, operations[: int(count)])]
        else:
            timing = timing or Timing(make, operations)
            result = timing.go_on(int(count), float(seconds[0]))
        print(json.dumps(result), file=answers, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
