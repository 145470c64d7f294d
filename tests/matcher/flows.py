"""Random order flows: seeded, so that the same seed gives the same commands.

A flow looks at the reference's book to aim: it amends and cancels orders that rest, prices near the others, and keeps
the book at some tens of orders. Whatever `wrong` yields is mixed into every flow.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random

from contracts.messages import (
    MAX_PRICE,
    MAX_QUANTITY,
    AmendOrder,
    CancelOrder,
    Command,
    DefineInstrument,
    OrderType,
    PlaceOrder,
    Side,
    TimeInForce,
)
from tests.matcher.reference import Limits, Order, ReferenceEngine

MAX_LOTS = 50


@dataclass(frozen=True)
class Profile:
    """What a flow is like. Weights say how often each kind of command comes."""

    name: str
    weights: dict[str, int]
    symbols: tuple[str, ...] = ("BTC-USD",)
    spread: int = 3
    """How far from the middle prices go."""
    overlap: int = 2
    """How far buy prices go above the middle, and sell prices below it."""
    most_orders: int = 40
    client_order_ids: int = 0
    """Ids that clients choose from; 0 for none."""
    limits: Limits = field(default_factory=Limits)


EVERYTHING = {
    "limit": 40,
    "market": 6,
    "ioc": 6,
    "fok": 8,
    "post_only": 8,
    "cancel": 12,
    "amend_price": 6,
    "amend_quantity": 8,
    "amend_both": 4,
    "stale": 4,
    "wrong": 6,
    "define": 1,
}

PROFILES = [
    Profile("tight book, many crossings", EVERYTHING | {"limit": 80, "cancel": 4}, spread=2, overlap=2),
    Profile("deep book", EVERYTHING | {"limit": 60, "fok": 12}, spread=25, overlap=3, most_orders=70),
    Profile("cancels", EVERYTHING | {"cancel": 45, "stale": 10}, spread=5, overlap=1),
    Profile("amends", EVERYTHING | {"amend_price": 25, "amend_quantity": 30, "amend_both": 20}, spread=4),
    Profile("market, IOC and FOK", EVERYTHING | {"market": 20, "ioc": 20, "fok": 30}, spread=6, overlap=3),
    Profile("three symbols", EVERYTHING, symbols=("A", "b_2", "BTC-USD")),
    Profile("mistakes", EVERYTHING | {"wrong": 60, "stale": 15, "define": 10}, symbols=("A", "B")),
    Profile(
        "client order ids",
        EVERYTHING,
        client_order_ids=60,
        limits=Limits(client_order_id_window=25),
    ),
    Profile(
        "few makers, few orders",
        EVERYTHING | {"limit": 70, "fok": 15, "market": 12},
        spread=2,
        limits=Limits(max_fills=3, max_resting_orders=12),
    ),
]


@dataclass
class Flow:
    profile: Profile
    reference: ReferenceEngine
    random: Random

    def commands(self, count: int) -> Iterator[Command]:
        for symbol in self.profile.symbols:
            yield DefineInstrument(symbol, "0.01", "0.001", 1, MAX_LOTS)
        kinds, weights = list(self.profile.weights), list(self.profile.weights.values())
        for _ in range(count - len(self.profile.symbols)):
            kind = self.random.choices(kinds, weights)[0]
            if len(self.reference.orders) > self.profile.most_orders:
                kind = self.random.choice(("cancel", "market", "ioc"))
            yield getattr(self, kind)()

    # Orders

    def limit(self, **terms: object) -> PlaceOrder:
        side = self.random.choice(list(Side))
        place = {
            "symbol": self.random.choice(self.profile.symbols),
            "side": side,
            "type": OrderType.LIMIT,
            "quantity": self.quantity(),
            "price": self.price(side),
            **self.client(),
        }
        return PlaceOrder(**(place | terms))  # type: ignore[arg-type]

    def market(self) -> PlaceOrder:
        time_in_force = self.random.choice(list(TimeInForce))
        quantity = self.random.randint(1, MAX_LOTS)
        return self.limit(type=OrderType.MARKET, price=None, time_in_force=time_in_force, quantity=quantity)

    def ioc(self) -> PlaceOrder:
        return self.limit(time_in_force=TimeInForce.IOC, quantity=self.random.randint(1, MAX_LOTS))

    def fok(self) -> PlaceOrder:
        return self.limit(time_in_force=TimeInForce.FOK, quantity=self.random.randint(1, 25))

    def post_only(self) -> PlaceOrder:
        return self.limit(post_only=True)

    def quantity(self) -> int:
        return self.random.choice((1, 1, 2, 3, 5, 8, 10, 13))

    def price(self, side: Side) -> int:
        towards_middle = -1 if side is Side.BUY else 1
        return 100 + towards_middle * self.random.randint(-self.profile.overlap, self.profile.spread)

    def client(self) -> dict[str, str]:
        if not self.profile.client_order_ids or self.random.random() < 0.2:
            return {}
        number = self.random.randrange(self.profile.client_order_ids)
        return {"account": self.random.choice(("anna", "ben")), "client_order_id": f"c-{number}"}

    # Changes to orders

    def resting(self) -> Order | None:
        return self.random.choice(self.reference.orders) if self.reference.orders else None

    def cancel(self) -> Command:
        order = self.resting()
        return CancelOrder(order.order_id) if order else self.limit()

    def amend_price(self) -> Command:
        order = self.resting()
        return AmendOrder(order.order_id, price=self.price(order.side)) if order else self.limit()

    def amend_quantity(self) -> Command:
        order = self.resting()
        return AmendOrder(order.order_id, quantity=self.new_total(order)) if order else self.limit()

    def amend_both(self) -> Command:
        order = self.resting()
        if order is None:
            return self.limit()
        price = self.random.choice((order.price, self.price(order.side)))
        return AmendOrder(order.order_id, price=price, quantity=self.new_total(order))

    def new_total(self, order: Order) -> int:
        near = (order.filled - 1, order.filled, order.filled + 1, order.quantity - 1, order.quantity)
        return self.random.choice((*near, order.quantity + 1, self.quantity(), self.random.randint(1, MAX_LOTS)))

    def stale(self) -> Command:
        """For an order that was most likely filled or canceled long ago, or never was."""
        order_id = self.random.randint(-1, self.reference.last_order_id + 2)
        amend = AmendOrder(order_id, price=100, quantity=1)
        return self.random.choice((CancelOrder(order_id), amend))

    def define(self) -> DefineInstrument:
        smallest = self.random.randint(1, 3)
        largest = self.random.choice((30, MAX_LOTS, MAX_LOTS, MAX_QUANTITY))
        return DefineInstrument(self.random.choice(self.profile.symbols), "0.01", "0.001", smallest, largest)

    # Mistakes

    def wrong(self) -> Command:
        """One command with one or two faults; now and then they cancel out."""
        maker_of_mistakes = self.random.choice(
            (self.wrong_place, self.wrong_place, self.wrong_amend, self.wrong_define)
        )
        return maker_of_mistakes()

    def wrong_place(self) -> Command:
        faults: list[dict[str, object]] = [
            {"symbol": self.random.choice(("NONE", "", "btc-usd", "BTC-USD\n", "A.B", "*", "\0"))},
            {"account": self.random.choice(("", "a b", "a.b", "x" * 65, "é", "a\n"))},
            {"client_order_id": self.random.choice(("", ">", "x" * 65, "c-1\n", "\0"))},
            {"quantity": self.random.choice((0, -1, MAX_LOTS + 1, MAX_QUANTITY + 1, 2**63))},
            {"price": None},
            {"type": OrderType.MARKET},
            {"price": self.random.choice((0, -1, MAX_PRICE + 1, 2**63))},
            {"post_only": True, "time_in_force": self.random.choice((TimeInForce.IOC, TimeInForce.FOK))},
            {"post_only": True, "type": OrderType.MARKET, "price": None},
        ]
        terms: dict[str, object] = {}
        for fault in self.random.sample(faults, self.random.choice((1, 1, 2))):
            terms |= fault
        return self.limit(**terms)

    def wrong_amend(self) -> Command:
        order = self.resting()
        if order is None:
            return CancelOrder(0)
        price = self.random.choice((None, 0, -3, MAX_PRICE + 1, order.price))
        quantity = self.random.choice((None, 0, -1, MAX_QUANTITY + 1))
        return AmendOrder(order.order_id, price, quantity)

    def wrong_define(self) -> Command:
        symbol = self.random.choice((*self.profile.symbols, "", "x" * 25, "A.B", "market.>", "A\n", "Ä"))
        size = self.random.choice(
            ("0.01", "0", "0.0", "-1", "1e-2", "NaN", ".1", "1.", "0.1", "1", "", "0.01\n", "\u0660.\u0661")
        )
        limits = self.random.choice(((1, 10), (0, 10), (5, 4), (1, MAX_QUANTITY + 1), (-1, 1)))
        return DefineInstrument(symbol, size, self.random.choice(("0.001", size)), *limits)
