"""Random order flows: seeded, so that the same seed gives the same commands.

A flow looks at the reference's book to aim: it amends and cancels orders that are open, prices near the others, and
keeps the book at some tens of orders. Whatever `wrong` yields is mixed into every flow. Time moves on with the
commands; `commands` are the clients' alone, `placed` has the matcher's own between them, where a sequencer would put
them.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random

from msgspec.structs import replace

from contracts.messages import (
    DAY,
    MAX_DELAY,
    MAX_NOTIONAL,
    MAX_PRICE,
    MAX_QUANTITY,
    AdvanceClock,
    AllOrNothing,
    AmendOrder,
    CancelAllAfter,
    CancelOrder,
    CancelOrders,
    ClientCommand,
    Command,
    Continue,
    DefineInstrument,
    InstrumentStatus,
    OrderCommand,
    OrderType,
    PlaceOrder,
    SelfTradePrevention,
    SetAccountLimits,
    SetInstrumentStatus,
    SetKillSwitch,
    Side,
    SymbolLimits,
    Terms,
    TimeInForce,
)
from tests.matcher.reference import ReferenceEngine
from tests.matcher.reference_orders import LIMIT_TYPES, STOP_TYPES, Limits, Order, Where

MAX_LOTS = 50
START = 1_700_000_000_000_000
MILLISECOND = 1_000
SECOND = 1_000_000


@dataclass(frozen=True)
class Profile:
    """What a flow is like. Weights say how often each kind of command comes."""

    name: str
    weights: dict[str, int]
    symbols: tuple[str, ...] = ("BTC-USD",)
    middle: int = 100
    spread: int = 3
    """How far from the middle prices go."""
    overlap: int = 2
    """How far buy prices go above the middle, and sell prices below it."""
    most_orders: int = 40
    accounts: tuple[str, ...] = ("default",)
    client_order_ids: int = 0
    """Ids that clients choose from; 0 for none."""
    prevention: float = 0.0
    """How many of the orders have self-trade prevention."""
    pace: int = MILLISECOND
    """Microseconds from one command to the next, at most twice that."""
    limits: Limits = field(default_factory=Limits)


PLAIN = {
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
"""What the simplest exchange has."""

EVERYTHING = PLAIN | {
    "limit": 90,
    "stop": 10,
    "stop_limit": 12,
    "iceberg": 25,
    "by_notional": 6,
    "protected": 5,
    "expiring": 10,
    "amend_stop": 5,
    "again": 3,
    "batch": 10,
    "replacement": 4,
    "cancel_all": 1,
    "cancel_all_after": 2,
    "kill_switch": 1,
    "status": 1,
    "bands": 2,
    "account_limits": 2,
}

SMALL = Limits(max_fills=3, max_events=5, max_commands=4, max_resting_orders=60, client_order_id_window=100)

PLAIN_PROFILES = [
    Profile("tight book, many crossings", PLAIN | {"limit": 80, "cancel": 4}, spread=2, overlap=2),
    Profile("deep book", PLAIN | {"limit": 60, "fok": 12}, spread=25, overlap=3, most_orders=70),
    Profile("cancels", PLAIN | {"cancel": 45, "stale": 10}, spread=5, overlap=1),
    Profile("amends", PLAIN | {"amend_price": 25, "amend_quantity": 30, "amend_both": 20}, spread=4),
    Profile("market, IOC and FOK", PLAIN | {"market": 20, "ioc": 20, "fok": 30}, spread=6, overlap=3),
    Profile("three symbols", PLAIN, symbols=("A", "b_2", "BTC-USD")),
    Profile("mistakes", EVERYTHING | {"wrong": 150, "stale": 30, "define": 10}, symbols=("A", "B")),
    Profile(
        "client order ids",
        PLAIN | {"again": 12},
        accounts=("anna", "ben"),
        client_order_ids=60,
        limits=Limits(client_order_id_window=25),
    ),
    Profile(
        "few makers, few orders",
        PLAIN | {"limit": 70, "fok": 15, "market": 12},
        spread=2,
        limits=Limits(max_fills=3, max_resting_orders=12),
    ),
]

RICH_PROFILES = [
    Profile(
        "everything",
        EVERYTHING,
        symbols=("A", "B"),
        accounts=("anna", "ben", "cleo"),
        client_order_ids=5000,
        prevention=0.3,
        pace=50 * MILLISECOND,
        limits=Limits(client_order_id_window=2000),
    ),
    Profile(
        "everything, little room",
        EVERYTHING | {"cancel_all": 4, "kill_switch": 3, "cancel_all_after": 6, "status": 3, "batch": 20},
        symbols=("A", "B"),
        accounts=("anna", "ben", "cleo"),
        client_order_ids=200,
        prevention=0.3,
        pace=500 * MILLISECOND,
        limits=SMALL,
    ),
    Profile("stop cascades", PLAIN | {"stop": 60, "stop_limit": 60, "amend_stop": 15}, spread=6, overlap=4),
    Profile(
        "stop cascades, little room",
        PLAIN | {"stop": 60, "stop_limit": 60, "amend_stop": 15, "batch": 10},
        spread=6,
        overlap=4,
        limits=SMALL,
    ),
    Profile("icebergs", PLAIN | {"iceberg": 120, "fok": 30}, spread=3, overlap=2),
    Profile("icebergs, few makers", PLAIN | {"iceberg": 120, "fok": 30}, limits=Limits(max_fills=4)),
    Profile(
        "self-trade prevention",
        EVERYTHING | {"iceberg": 30, "fok": 20, "by_notional": 20},
        accounts=("anna", "ben"),
        prevention=0.8,
    ),
    Profile(
        "by notional",
        PLAIN | {"by_notional": 60, "bands": 5, "iceberg": 10, "limit": 80},
        accounts=("anna", "ben", "cleo"),
        prevention=0.3,
        limits=Limits(max_fills=5),
    ),
    Profile(
        "batches",
        EVERYTHING | {"batch": 120, "replacement": 30},
        symbols=("A", "B"),
        accounts=("anna", "ben", "cleo"),
        client_order_ids=5000,
        prevention=0.1,
        limits=Limits(max_fills=6, client_order_id_window=2000),
    ),
    Profile(
        "expiry and dead-man's switches",
        EVERYTHING | {"expiring": 80, "cancel_all_after": 25},
        accounts=("anna", "ben", "cleo"),
        pace=2 * SECOND,
        limits=Limits(max_events=3),
    ),
    Profile(
        "days",
        EVERYTHING | {"expiring": 80, "cancel_all_after": 10},
        accounts=("anna", "ben"),
        pace=DAY // 30,
    ),
    Profile(
        "bands and statuses",
        EVERYTHING | {"bands": 25, "status": 20, "protected": 30, "market": 20, "batch": 20},
        symbols=("A", "B"),
        middle=997,
        spread=8,
        overlap=6,
    ),
    Profile(
        "limits of accounts",
        EVERYTHING | {"account_limits": 30, "kill_switch": 8, "batch": 40, "amend_quantity": 20, "amend_both": 20},
        symbols=("A", "B"),
        accounts=("anna", "ben", "cleo"),
    ),
]

PROFILES = PLAIN_PROFILES + RICH_PROFILES


@dataclass
class Flow:
    profile: Profile
    reference: ReferenceEngine
    random: Random
    time: int = START
    """Of the command that was yielded last."""

    def __post_init__(self) -> None:
        self.symbols = list(self.profile.symbols)
        self.listed = len(self.symbols)
        self.recent: list[PlaceOrder | AllOrNothing] = []

    def commands(self, count: int) -> Iterator[ClientCommand]:
        for symbol in self.profile.symbols:
            yield DefineInstrument(symbol, "0.01", "0.001", 1, MAX_LOTS)
        for _ in range(count - len(self.profile.symbols)):
            self.time = self.later()
            command = self.command()
            if isinstance(command, PlaceOrder | AllOrNothing):
                self.recent = [*self.recent[-30:], command]
            yield command

    def later(self) -> int:
        """Now and then the very moment at which something is due."""
        time, due = self.time + self.random.randint(1, 2 * self.profile.pace), self.reference.next_due
        return due if due is not None and self.time < due <= time and self.chance(0.5) else time

    def placed(self, count: int) -> Iterator[Command]:
        """About `count` commands of clients, and the matcher's own in their places."""
        for command in self.commands(count):
            if self.reference.next_due is not None and self.time >= self.reference.next_due:
                yield AdvanceClock()
                yield from self.continuing()
            yield command
            yield from self.continuing()
            if self.chance(0.002):
                yield self.random.choice((AdvanceClock(), Continue()))
                yield from self.continuing()

    def continuing(self) -> Iterator[Command]:
        while self.reference.unfinished:
            yield Continue()

    def command(self) -> ClientCommand:
        if repair := self.repair():
            return repair
        kinds, weights = list(self.profile.weights), list(self.profile.weights.values())
        kind = self.random.choices(kinds, weights)[0]
        if len(self.reference.orders) > self.profile.most_orders:
            kind = self.random.choice(("cancel", "market", "ioc"))
        made: ClientCommand = getattr(self, kind)()
        return made

    def repair(self) -> ClientCommand | None:
        """So that trading goes on: a new symbol for a delisted one; other statuses and kill switches end soon."""
        for symbol in self.symbols:
            instrument = self.reference.instruments.get(symbol)
            if instrument and instrument.status is InstrumentStatus.DELISTED and self.chance(0.3):
                self.listed += 1
                self.symbols[self.symbols.index(symbol)] = f"S{self.listed}"
                return DefineInstrument(f"S{self.listed}", "0.01", "0.001", 1, MAX_LOTS)
            if instrument and instrument.status is not InstrumentStatus.TRADING and self.chance(0.05):
                return SetInstrumentStatus(symbol, InstrumentStatus.TRADING)
        for account in sorted(self.reference.killed):
            if self.chance(0.1):
                return SetKillSwitch(account, False)
        return None

    def chance(self, probability: float) -> bool:
        return self.random.random() < probability

    def symbol(self) -> str:
        return self.random.choice(self.symbols)

    def account(self) -> str:
        return self.random.choice(self.profile.accounts)

    # Orders

    def limit(self, **terms: object) -> PlaceOrder:
        side = self.random.choice(list(Side))
        place = {
            "symbol": self.symbol(),
            "side": side,
            "type": OrderType.LIMIT,
            "quantity": self.quantity(),
            "price": self.price(side),
            **self.client(),
        }
        order = PlaceOrder(**(place | terms))  # type: ignore[arg-type]
        if self.chance(self.profile.prevention):
            mode = self.random.choice(list(SelfTradePrevention))
            return replace(order, terms=replace(order.terms or Terms(), self_trade_prevention=mode))
        return order

    def market(self, **terms: object) -> PlaceOrder:
        time_in_force = self.random.choice((TimeInForce.GTC, TimeInForce.IOC, TimeInForce.FOK))
        quantity = self.random.randint(1, MAX_LOTS)
        place = {"type": OrderType.MARKET, "price": None, "time_in_force": time_in_force, "quantity": quantity}
        return self.limit(**(place | terms))

    def ioc(self) -> PlaceOrder:
        return self.limit(time_in_force=TimeInForce.IOC, quantity=self.random.randint(1, MAX_LOTS))

    def fok(self) -> PlaceOrder:
        return self.limit(time_in_force=TimeInForce.FOK, quantity=self.random.randint(1, 25))

    def post_only(self) -> PlaceOrder:
        return self.limit(post_only=True)

    def stop(self) -> PlaceOrder:
        side = self.random.choice(list(Side))
        protection = self.price(side) if self.chance(0.3) else None
        return self.stop_order(side, OrderType.STOP, None, protection)

    def stop_limit(self) -> PlaceOrder:
        side = self.random.choice(list(Side))
        return self.stop_order(side, OrderType.STOP_LIMIT, self.price(side), None)

    def stop_order(self, side: Side, kind: OrderType, price: int | None, protection: int | None) -> PlaceOrder:
        quantity = self.random.randint(1, 20)
        expires_at, display = None, None
        time_in_force = self.random.choice((TimeInForce.GTC, *TimeInForce))
        if time_in_force is TimeInForce.GTD:
            expires_at = self.expiry()
        if kind is OrderType.STOP_LIMIT and time_in_force not in (TimeInForce.IOC, TimeInForce.FOK):
            display = self.random.choice((None, None, self.random.randint(1, quantity)))
        terms = Terms(self.stop_price(side), display, protection, None, expires_at)
        return self.limit(
            side=side, type=kind, price=price, quantity=quantity, time_in_force=time_in_force, terms=terms
        )

    def stop_price(self, side: Side) -> int:
        """Mostly away from the market, where a stop waits."""
        away = 1 if side is Side.BUY else -1
        return max(1, self.profile.middle + away * self.random.randint(-1, self.profile.spread))

    def iceberg(self) -> PlaceOrder:
        quantity = self.random.randint(1, 30)
        post_only = self.chance(0.1)
        return self.limit(quantity=quantity, post_only=post_only, terms=Terms(None, self.random.randint(1, quantity)))

    def by_notional(self) -> PlaceOrder:
        notional = self.random.choice((1, self.profile.middle, self.profile.middle * self.random.randint(1, MAX_LOTS)))
        notional = max(1, notional + self.random.randint(-150, 150))
        side, symbol = self.random.choice(list(Side)), self.symbol()
        if self.chance(0.3):
            notional = self.worth_of_some(symbol, side.opposite) or notional
        protection = self.price(side) if self.chance(0.3) else None
        terms = Terms(protection_price=protection, notional=notional)
        time_in_force = self.random.choice((TimeInForce.GTC, TimeInForce.IOC))
        return self.market(symbol=symbol, side=side, quantity=0, time_in_force=time_in_force, terms=terms)

    def worth_of_some(self, symbol: str, side: Side) -> int:
        """What it costs to the tick to take the best orders of this side, or all."""
        queue = self.reference.queue(symbol, side)
        return sum(order.book_price * order.remaining for order in queue[: self.random.choice((1, 2, 3, len(queue)))])

    def protected(self) -> PlaceOrder:
        side = self.random.choice(list(Side))
        return self.market(side=side, terms=Terms(protection_price=self.price(side)))

    def expiring(self) -> PlaceOrder:
        if self.chance(0.3):
            return self.limit(time_in_force=TimeInForce.DAY, post_only=self.chance(0.1))
        display = self.random.choice((None, 1))
        return self.limit(time_in_force=TimeInForce.GTD, terms=Terms(None, display, None, None, self.expiry()))

    def expiry(self) -> int:
        """Some expire together."""
        step = 10 * self.profile.pace
        return (self.time // step + self.random.randint(1, 5)) * step

    def quantity(self) -> int:
        return self.random.choice((1, 1, 2, 3, 5, 8, 10, 13))

    def price(self, side: Side) -> int:
        towards_middle = -1 if side is Side.BUY else 1
        away = self.random.randint(-self.profile.overlap, self.profile.spread)
        return self.profile.middle + towards_middle * away

    def client(self) -> dict[str, str]:
        if not self.profile.client_order_ids or self.chance(0.2):
            return {"account": self.account()}
        number = self.random.randrange(self.profile.client_order_ids)
        return {"account": self.account(), "client_order_id": f"c-{number}"}

    def again(self) -> ClientCommand:
        """A retry of a recent command, now and then with something changed."""
        if not self.recent:
            return self.limit()
        command = self.random.choice(self.recent)
        if isinstance(command, PlaceOrder) and self.chance(0.3):
            changes: list[dict[str, object]] = [
                {"quantity": command.quantity + 1},
                {"time_in_force": TimeInForce.IOC},
                {"terms": replace(command.terms or Terms(), self_trade_prevention=SelfTradePrevention.CANCEL_BOTH)},
                {"side": command.side.opposite},
            ]
            return replace(command, **self.random.choice(changes))
        return command

    # Changes to orders

    def open_order(self) -> Order | None:
        return self.random.choice(self.reference.orders) if self.reference.orders else None

    def whose(self, order: Order) -> tuple[str, ...] | None:
        """For whom a client may act; mostly for everybody, sometimes not for this order's account."""
        return self.random.choice((None, None, None, None, (order.account,), (self.account(), "dora"), ("dora",)))

    def cancel(self) -> OrderCommand:
        order = self.open_order()
        return CancelOrder(order.order_id, self.whose(order)) if order else self.limit()

    def amend_price(self) -> OrderCommand:
        order = self.open_order()
        if order is None:
            return self.limit()
        return AmendOrder(order.order_id, price=self.price(order.side), accounts=self.whose(order))

    def amend_quantity(self) -> OrderCommand:
        order = self.open_order()
        return AmendOrder(order.order_id, quantity=self.new_total(order)) if order else self.limit()

    def amend_both(self) -> OrderCommand:
        order = self.open_order()
        if order is None:
            return self.limit()
        price = self.random.choice((order.price, self.price(order.side)))
        return AmendOrder(order.order_id, price=price, quantity=self.new_total(order))

    def amend_stop(self) -> OrderCommand:
        stops = [order for order in self.reference.orders if order.where is Where.STOPS]
        if not stops:
            return self.stop()
        order = self.random.choice(stops)
        price = self.price(order.side) if order.type in LIMIT_TYPES and self.chance(0.3) else None
        quantity = self.new_total(order) if self.chance(0.3) else None
        stop_price = self.random.choice((None, order.stop_price, self.stop_price(order.side)))
        return AmendOrder(order.order_id, price, quantity, stop_price)

    def new_total(self, order: Order) -> int:
        near = (order.filled - 1, order.filled, order.filled + 1, order.quantity - 1, order.quantity)
        return self.random.choice((*near, order.quantity + 1, self.quantity(), self.random.randint(1, MAX_LOTS)))

    def stale(self) -> OrderCommand:
        """For an order that was most likely filled or canceled long ago, or never was."""
        order_id = self.random.randint(-1, self.reference.last_order_id + 2)
        amend = AmendOrder(order_id, price=self.profile.middle, quantity=1)
        return self.random.choice((CancelOrder(order_id), amend))

    # Several at once

    def batch(self) -> AllOrNothing:
        kinds = ("limit", "cancel", "amend_price", "amend_quantity", "amend_stop", "stop", "stop_limit", "iceberg")
        rarer = ("post_only", "market", "ioc", "fok", "by_notional", "expiring", "protected", "amend_both")
        count = self.random.choice((1, 2, 2, 3, 3, 4, 5))
        items: list[OrderCommand] = []
        for _ in range(count):
            kind = self.random.choice((*kinds, *kinds, *rarer, *(("stale", "wrong_place") if self.chance(0.1) else ())))
            item: OrderCommand = getattr(self, kind)()
            if not self.chance(0.9) or not self.conflicts(item, items):
                items.append(item)
        return AllOrNothing(tuple(items))

    def conflicts(self, item: OrderCommand, items: list[OrderCommand]) -> bool:
        """Whether the batch would be refused for this one without a look at it."""
        if isinstance(item, PlaceOrder):
            return False
        return any(not isinstance(other, PlaceOrder) and other.order_id == item.order_id for other in items)

    def replacement(self) -> ClientCommand:
        order = self.open_order()
        if order is None:
            return self.limit()
        price = self.price(order.side)
        anew = self.limit(symbol=order.symbol, side=order.side, account=order.account, price=price)
        return AllOrNothing((CancelOrder(order.order_id), anew))

    def cancel_all(self) -> CancelOrders:
        accounts = self.random.choice((None, (self.account(),), (self.account(), self.account()), ()))
        return CancelOrders(
            accounts, self.random.choice((None, self.symbol(), "NONE")), self.random.choice((None, *Side))
        )

    def cancel_all_after(self) -> CancelAllAfter:
        pace = self.profile.pace
        return CancelAllAfter(
            self.account(), self.random.choice((0, pace, 10 * pace, self.random.randint(1, 30 * pace)))
        )

    # Instruments and accounts

    def define(self) -> DefineInstrument:
        smallest = self.random.randint(1, 3)
        largest = self.random.choice((30, MAX_LOTS, MAX_LOTS, MAX_QUANTITY))
        tick_size = "0.1" if self.chance(0.1) else "0.01"
        return DefineInstrument(self.symbol(), tick_size, "0.001", smallest, largest)

    def bands(self) -> DefineInstrument:
        middle, spread = self.profile.middle, self.profile.spread
        return DefineInstrument(
            self.symbol(),
            "0.01",
            "0.001",
            1,
            MAX_LOTS,
            self.random.choice((None, middle - self.random.randint(-1, spread))),
            self.random.choice((None, middle + self.random.randint(-1, spread))),
            self.random.choice((None, self.random.randint(1, 200), 10_000 * spread // middle, 10_000)),
        )

    def status(self) -> SetInstrumentStatus:
        statuses = list(InstrumentStatus)
        return SetInstrumentStatus(self.symbol(), self.random.choices(statuses, (2, 3, 3, 4, 1))[0])

    def account_limits(self) -> SetAccountLimits:
        if self.chance(0.3):
            return SetAccountLimits(self.account())
        symbols = self.random.sample(self.symbols, self.random.randint(0, len(self.symbols)))
        return SetAccountLimits(
            self.account(),
            self.random.choice((None, self.random.randint(0, 12))),
            tuple(self.symbol_limits(symbol) for symbol in symbols),
        )

    def symbol_limits(self, symbol: str) -> SymbolLimits:
        return SymbolLimits(
            symbol,
            self.random.choice((None, self.random.randint(0, 15))),
            self.random.choice((None, self.profile.middle * self.random.randint(0, 15))),
            self.random.choice((None, self.random.randint(0, 60))),
        )

    def kill_switch(self) -> SetKillSwitch:
        return SetKillSwitch(self.account(), self.chance(0.7))

    # Mistakes

    def wrong(self) -> ClientCommand:
        """One command with one or two faults; now and then they cancel out."""
        place = (self.wrong_place, self.wrong_terms, self.wrong_terms)
        other = (self.wrong_amend, self.wrong_define, self.wrong_account, self.wrong_batch)
        made: ClientCommand = self.random.choice((*place, *other))()
        return made

    def wrong_place(self) -> PlaceOrder:
        faults: list[dict[str, object]] = [
            {"symbol": self.random.choice(("NONE", "", "btc-usd", "BTC-USD\n", "A.B", "*", "\0"))},
            {"account": self.random.choice(("", "a b", "a.b", "x" * 65, "é", "a\n"))},
            {"client_order_id": self.random.choice(("", ">", "x" * 65, "c-1\n", "\0"))},
            {"quantity": self.random.choice((0, -1, MAX_LOTS + 1, MAX_QUANTITY + 1, 2**63 - 1))},
            {"price": None},
            {"type": OrderType.MARKET},
            {"price": self.random.choice((0, -1, MAX_PRICE + 1, 2**63 - 1))},
            {"post_only": True, "time_in_force": self.random.choice((TimeInForce.IOC, TimeInForce.FOK))},
            {"post_only": True, "type": OrderType.MARKET, "price": None},
        ]
        terms: dict[str, object] = {}
        for fault in self.random.sample(faults, self.random.choice((1, 1, 2))):
            terms |= fault
        return self.limit(**terms)

    def wrong_terms(self) -> PlaceOrder:
        """Any term with any type and time in force."""
        order_type = self.random.choice(list(OrderType))
        near = (1, 5, self.profile.middle, self.profile.middle + 1)
        far = (0, -1, MAX_PRICE + 1)
        terms = Terms(
            stop_price=self.random.choice((None, *near, *far)),
            display_quantity=self.random.choice((None, None, None, 1, 5, 0, 100)),
            protection_price=self.random.choice((None, None, None, *near, *far)),
            notional=self.random.choice((None, None, None, 1000, 0, -1, MAX_NOTIONAL + 1)),
            expires_at=self.random.choice((None, None, self.time, self.time - 1, self.time + 1, self.expiry())),
            self_trade_prevention=self.random.choice(list(SelfTradePrevention)),
        )
        if order_type not in STOP_TYPES and self.chance(0.8):
            terms = replace(terms, stop_price=None)
        return self.limit(
            type=order_type,
            quantity=self.random.choice((1, 5, 20)) if terms.notional is None or self.chance(0.3) else 0,
            price=self.profile.middle if (order_type in LIMIT_TYPES) ^ self.chance(0.2) else None,
            time_in_force=self.random.choice(list(TimeInForce)),
            post_only=self.chance(0.3),
            terms=terms,
        )

    def wrong_amend(self) -> OrderCommand:
        order = self.open_order()
        if order is None:
            return CancelOrder(0)
        price = self.random.choice((None, 0, -3, MAX_PRICE + 1, order.price))
        quantity = self.random.choice((None, 0, -1, MAX_QUANTITY + 1))
        stop_price = self.random.choice((None, None, 0, MAX_PRICE + 1, order.stop_price, self.profile.middle))
        return AmendOrder(order.order_id, price, quantity, stop_price)

    def wrong_define(self) -> ClientCommand:
        symbol = self.random.choice((*self.symbols, "", "x" * 25, "A.B", "market.>", "A\n", "Ä"))
        size = self.random.choice(
            (
                "0.01",
                "0.01",
                "0.01",
                "0",
                "0.0",
                "-1",
                "1e-2",
                "NaN",
                ".1",
                "1.",
                "0.1",
                "1",
                "",
                "0.01\n",
                "\u0660.\u0661",
            )
        )
        limits = self.random.choice(((1, 10), (1, 10), (0, 10), (5, 4), (1, MAX_QUANTITY + 1), (-1, 1)))
        lowest = self.random.choice((None, None, None, 0, -1, 90, MAX_PRICE + 1))
        highest = self.random.choice((None, None, None, 0, 80, 110, MAX_PRICE + 1))
        band = self.random.choice((None, None, 0, -1, 10_001, 10_000))
        return DefineInstrument(symbol, size, self.random.choice(("0.001", size)), *limits, lowest, highest, band)

    def wrong_account(self) -> ClientCommand:
        account = self.random.choice((self.account(), self.account(), "", "a b", "x" * 65))
        symbol = self.random.choice((self.symbol(), "NONE"))
        return self.random.choice(
            (
                CancelAllAfter(account, self.random.choice((-1, MAX_DELAY, MAX_DELAY + 1, 0))),
                SetKillSwitch(account, False),
                SetInstrumentStatus(symbol, InstrumentStatus.TRADING),
                CancelOrders((account,), symbol, None),
                SetAccountLimits(account, self.random.choice((None, -1, self.reference.limits.max_resting_orders + 1))),
                SetAccountLimits(account, None, (SymbolLimits(symbol), SymbolLimits(self.symbol()))),
                SetAccountLimits(account, None, (self.wrong_symbol_limits(symbol),)),
            )
        )

    def wrong_symbol_limits(self, symbol: str) -> SymbolLimits:
        most = MAX_QUANTITY * 1000
        return self.random.choice(
            (
                SymbolLimits(symbol, self.random.choice((-1, most, most + 1))),
                SymbolLimits(symbol, None, self.random.choice((-1, MAX_NOTIONAL, MAX_NOTIONAL + 1))),
                SymbolLimits(symbol, None, None, self.random.choice((-1, most, most + 1))),
            )
        )

    def wrong_batch(self) -> ClientCommand:
        items = list(self.batch().items)
        if items and self.chance(0.7):
            items.append(self.random.choice(items))
        if self.chance(0.1):
            items *= self.reference.limits.max_commands
        return AllOrNothing(tuple(items))
