"""Why a command is refused, by the reference: each rule on a line or two, in the order in which they count.

The functions that are generators name every fault they come to; the first one is the answer.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

from msgspec.structs import replace

from contracts.messages import (
    MAX_BAND_BASIS_POINTS,
    MAX_DELAY,
    MAX_NOTIONAL,
    MAX_PRICE,
    MAX_QUANTITY,
    AllOrNothing,
    AmendOrder,
    CancelAllAfter,
    CancelOrder,
    CancelOrders,
    Command,
    DefineInstrument,
    InstrumentStatus,
    OrderCommand,
    OrderType,
    PlaceOrder,
    Refusal,
    RejectReason,
    Repeated,
    SetAccountLimits,
    SetInstrumentStatus,
    SetKillSwitch,
    Side,
    SymbolLimits,
    TimeInForce,
)
from tests.matcher.reference_orders import LIMIT_TYPES, RESTING, STOP_TYPES, Instrument, Order, Where, crosses, terms_of

if TYPE_CHECKING:
    from tests.matcher.reference import ReferenceEngine

SYMBOL = r"[A-Za-z0-9_-]{1,24}"
NAME = r"[A-Za-z0-9_-]{1,64}"
SIZE = r"[0-9]{1,12}(\.[0-9]{1,12})?"

Faults = Iterator[Refusal]


@dataclass(frozen=True)
class Batch:
    """The all-or-nothing batch in which an item is judged, and the item's number."""

    items: tuple[OrderCommand, ...]
    number: int

    @property
    def canceled_ids(self) -> set[int]:
        return {item.order_id for item in self.items if isinstance(item, CancelOrder)}

    @property
    def placed_before(self) -> list[PlaceOrder]:
        return [item for item in self.items[: self.number] if isinstance(item, PlaceOrder)]


def refuse(engine: "ReferenceEngine", command: Command, time: int) -> Refusal | Repeated | None:
    match command:
        case PlaceOrder():
            return repeated(engine, (command,)) or next(place_faults(engine, command, time), None)
        case AllOrNothing():
            return (
                next(batch_faults(engine, command.items), None)
                or repeated(engine, command.items)
                or next(item_faults(engine, command.items, time), None)
            )
        case CancelOrder():
            return next(cancel_faults(engine, command), None)
        case AmendOrder():
            return next(amend_faults(engine, command), None)
        case CancelOrders():
            return next(cancel_all_faults(engine, command), None)
        case CancelAllAfter():
            return next(switch_faults(command), None)
        case DefineInstrument():
            return next(instrument_faults(engine, command), None)
        case SetInstrumentStatus():
            return next(status_faults(engine, command), None)
        case SetAccountLimits():
            return next(limits_faults(engine, command), None)
        case SetKillSwitch():
            return next(account_faults(command.account), None)
    return None


# Placing


def repeated(engine: "ReferenceEngine", items: tuple[OrderCommand, ...]) -> Repeated | None:
    """The first answer again, if every order to place came before, word for word."""
    places = [item for item in items if isinstance(item, PlaceOrder)]
    known = [engine.remembered(place) for place in places]
    if not places or any(first is None or first.command != place for first, place in zip(known, places, strict=True)):
        return None
    assert known[0] is not None
    return Repeated(known[0].order_id, known[0].sequence)


def place_faults(engine: "ReferenceEngine", order: PlaceOrder, time: int, batch: Batch | None = None) -> Faults:
    if order.symbol not in engine.instruments:
        yield Refusal(RejectReason.UNKNOWN_SYMBOL, "symbol")
    if first := engine.remembered(order):
        yield Refusal(RejectReason.DUPLICATE_CLIENT_ORDER_ID, "client_order_id", first.order_id)
    instrument = engine.instruments[order.symbol]
    if instrument.status is InstrumentStatus.DELISTED:
        yield Refusal(RejectReason.INSTRUMENT_DELISTED, "symbol")
    if instrument.status is InstrumentStatus.HALTED:
        yield Refusal(RejectReason.INSTRUMENT_HALTED, "symbol")
    if instrument.status is InstrumentStatus.CANCEL_ONLY:
        yield Refusal(RejectReason.INSTRUMENT_CANCEL_ONLY, "symbol")
    yield from account_faults(order.account)
    if order.client_order_id is not None and not re.fullmatch(NAME, order.client_order_id):
        yield Refusal(RejectReason.INVALID_CLIENT_ORDER_ID, "client_order_id")
    yield from size_and_price_faults(instrument, order)
    yield from terms_faults(instrument, order, time)
    if order.account in engine.killed:
        yield Refusal(RejectReason.KILL_SWITCH_ENGAGED, "account")
    yield from band_faults(instrument, "price", order.price)
    yield from band_faults(instrument, "protection_price", terms_of(order).protection_price)
    yield from place_limit_faults(engine, order, batch)
    if len(engine.orders) >= engine.limits.max_resting_orders:
        yield Refusal(RejectReason.TOO_MANY_ORDERS)
    yield from taking_faults(engine, order)
    if terms_of(order).notional is not None:
        yield from notional_faults(engine, order)


def account_faults(account: str) -> Faults:
    if not re.fullmatch(NAME, account):
        yield Refusal(RejectReason.INVALID_ACCOUNT, "account")


def size_and_price_faults(instrument: Instrument, order: PlaceOrder) -> Faults:
    terms = terms_of(order)
    if terms.notional is not None and order.quantity != 0:
        yield Refusal(RejectReason.NOTIONAL_NOT_ALLOWED, "notional")
    if terms.notional is None:
        yield from quantity_faults(instrument, order.quantity)
    if order.type in LIMIT_TYPES and order.price is None:
        yield Refusal(RejectReason.PRICE_REQUIRED, "price")
    if order.type not in LIMIT_TYPES and order.price is not None:
        yield Refusal(RejectReason.PRICE_NOT_ALLOWED, "price")
    yield from price_faults("price", order.price)
    if order.type in STOP_TYPES and terms.stop_price is None:
        yield Refusal(RejectReason.STOP_PRICE_REQUIRED, "stop_price")
    if order.type not in STOP_TYPES and terms.stop_price is not None:
        yield Refusal(RejectReason.STOP_PRICE_NOT_ALLOWED, "stop_price")
    yield from price_faults("stop_price", terms.stop_price)


def quantity_faults(instrument: Instrument, quantity: int) -> Faults:
    if not instrument.rules.min_quantity <= quantity <= instrument.rules.max_quantity:
        yield Refusal(RejectReason.QUANTITY_OUT_OF_RANGE, "quantity")


def price_faults(name: str, price: int | None) -> Faults:
    if price is not None and not 1 <= price <= MAX_PRICE:
        yield Refusal(RejectReason.PRICE_OUT_OF_RANGE, name)


def terms_faults(instrument: Instrument, order: PlaceOrder, time: int) -> Faults:
    terms, time_in_force = terms_of(order), order.time_in_force
    may_stay = time_in_force in RESTING
    if order.type is OrderType.MARKET and time_in_force in (TimeInForce.GTD, TimeInForce.DAY):
        yield Refusal(RejectReason.TIME_IN_FORCE_NOT_ALLOWED, "time_in_force")
    if time_in_force is TimeInForce.FOK and terms.notional is not None:
        yield Refusal(RejectReason.TIME_IN_FORCE_NOT_ALLOWED, "time_in_force")
    if time_in_force is TimeInForce.GTD and terms.expires_at is None:
        yield Refusal(RejectReason.EXPIRY_REQUIRED, "expires_at")
    if time_in_force is not TimeInForce.GTD and terms.expires_at is not None:
        yield Refusal(RejectReason.EXPIRY_NOT_ALLOWED, "expires_at")
    if terms.expires_at is not None and terms.expires_at <= time:
        yield Refusal(RejectReason.EXPIRY_IN_THE_PAST, "expires_at")
    if order.post_only and not (order.type is OrderType.LIMIT and may_stay):
        yield Refusal(RejectReason.POST_ONLY_NOT_ALLOWED, "post_only")
    if terms.display_quantity is not None:
        if not (order.type in LIMIT_TYPES and may_stay):
            yield Refusal(RejectReason.DISPLAY_QUANTITY_NOT_ALLOWED, "display_quantity")
        if not instrument.rules.min_quantity <= terms.display_quantity <= order.quantity:
            yield Refusal(RejectReason.DISPLAY_QUANTITY_OUT_OF_RANGE, "display_quantity")
    if terms.protection_price is not None and order.type not in (OrderType.MARKET, OrderType.STOP):
        yield Refusal(RejectReason.PROTECTION_PRICE_NOT_ALLOWED, "protection_price")
    yield from price_faults("protection_price", terms.protection_price)
    if terms.notional is not None and order.type is not OrderType.MARKET:
        yield Refusal(RejectReason.NOTIONAL_NOT_ALLOWED, "notional")
    if terms.notional is not None and not 1 <= terms.notional <= MAX_NOTIONAL:
        yield Refusal(RejectReason.NOTIONAL_OUT_OF_RANGE, "notional")


def band_faults(instrument: Instrument, name: str, price: int | None) -> Faults:
    band = instrument.band()
    if price is not None and not band.holds(price):
        yield Refusal(RejectReason.PRICE_OUTSIDE_BAND, name, lowest=band.lowest, highest=band.highest)


def taking_faults(engine: "ReferenceEngine", order: PlaceOrder) -> Faults:
    """Of orders and instruments that may only add to the book."""
    instrument = engine.instruments[order.symbol]
    would_trade = order.type is OrderType.LIMIT and engine.would_trade(order.symbol, order.side, order.price)
    if instrument.status is InstrumentStatus.POST_ONLY:
        stop_price = terms_of(order).stop_price
        waits = stop_price is not None and not instrument.has_reached(order.side, stop_price)
        rests = order.type is OrderType.LIMIT and order.time_in_force in RESTING
        if not (waits or rests) or would_trade:
            yield Refusal(RejectReason.INSTRUMENT_POST_ONLY, "symbol")
    if order.post_only and would_trade:
        yield Refusal(RejectReason.POST_ONLY_WOULD_TRADE, "post_only")


def notional_faults(engine: "ReferenceEngine", order: PlaceOrder) -> Faults:
    terms = terms_of(order)
    assert terms.notional is not None
    limit = engine.market_limit(order)
    within = [price for price in engine.opposing_prices(order.symbol, order.side) if crosses(order.side, limit, price)]
    if not within:
        yield Refusal(RejectReason.NO_LIQUIDITY, "notional")
    if within[0] > terms.notional:
        yield Refusal(RejectReason.NOTIONAL_TOO_SMALL, "notional")


# The limits of an account


def limits_of(engine: "ReferenceEngine", account: str, symbol: str) -> SymbolLimits:
    limits = engine.account_limits.get(account)
    found = [one for one in limits.symbols if one.symbol == symbol] if limits else []
    return found[0] if found else SymbolLimits(symbol)


def is_over(value: int | None, limit: int | None) -> bool:
    return value is not None and limit is not None and value > limit


def place_limit_faults(engine: "ReferenceEngine", order: PlaceOrder, batch: Batch | None) -> Faults:
    canceled = batch.canceled_ids if batch else set()
    earlier = [place for place in (batch.placed_before if batch else []) if place.account == order.account]
    staying = [each for each in engine.orders_of(order.account) if each.order_id not in canceled]

    account = engine.account_limits.get(order.account)
    if account and is_over(len(staying) + len(earlier) + 1, account.max_open_orders):
        yield Refusal(RejectReason.MAX_OPEN_ORDERS, "account", limit=account.max_open_orders)

    limits, notional = limits_of(engine, order.account, order.symbol), terms_of(order).notional
    if notional is None and is_over(order.quantity, limits.max_order_quantity):
        yield Refusal(RejectReason.MAX_ORDER_QUANTITY, "quantity", limit=limits.max_order_quantity)
    if is_over(notional_at_most(engine, order), limits.max_order_notional):
        field = "quantity" if notional is None else "notional"
        yield Refusal(RejectReason.MAX_ORDER_NOTIONAL, field, limit=limits.max_order_notional)

    wanted = quantity_at_most(engine, order)
    open_quantity = sum(each.remaining for each in staying if (each.symbol, each.side) == (order.symbol, order.side))
    for place in earlier:
        if (place.symbol, place.side) == (order.symbol, order.side):
            open_quantity += quantity_at_most(engine, place) or 0
    if wanted is not None:
        position = engine.position_towards(order.account, order.symbol, order.side)
        if is_over(position + open_quantity + wanted, limits.max_position):
            yield Refusal(RejectReason.MAX_POSITION, "quantity", limit=limits.max_position)


def notional_at_most(engine: "ReferenceEngine", order: PlaceOrder) -> int | None:
    """What the order is judged to be worth; None: it cannot be told."""
    terms = terms_of(order)
    if terms.notional is not None:
        return terms.notional
    best = engine.opposing_prices(order.symbol, order.side)[:1]
    for price in (order.price, terms.protection_price, terms.stop_price, *best):
        if price is not None:
            return order.quantity * price
    return None


def quantity_at_most(engine: "ReferenceEngine", order: PlaceOrder) -> int | None:
    notional = terms_of(order).notional
    if notional is None:
        return order.quantity
    best = engine.opposing_prices(order.symbol, order.side)[:1]
    return notional // best[0] if best else None


def amend_limit_faults(engine: "ReferenceEngine", order: Order, command: AmendOrder) -> Faults:
    limits = limits_of(engine, order.account, order.symbol)
    changed = amended(order, command)
    if command.quantity is not None and is_over(changed.quantity, limits.max_order_quantity):
        yield Refusal(RejectReason.MAX_ORDER_QUANTITY, "quantity", limit=limits.max_order_quantity)
    if command.quantity is not None or command.price is not None:
        price = changed.stop_price if changed.price is None else changed.price
        assert price is not None
        if is_over(changed.quantity * price, limits.max_order_notional):
            yield Refusal(RejectReason.MAX_ORDER_NOTIONAL, "quantity", limit=limits.max_order_notional)
    growth = changed.quantity - order.quantity
    if growth > 0:
        same_side = [
            each for each in engine.orders_of(order.account) if (each.symbol, each.side) == (order.symbol, order.side)
        ]
        position = engine.position_towards(order.account, order.symbol, order.side)
        if is_over(position + sum(each.remaining for each in same_side) + growth, limits.max_position):
            yield Refusal(RejectReason.MAX_POSITION, "quantity", limit=limits.max_position)


# Canceling and amending


def unknown_order(order: Order | None, accounts: tuple[str, ...] | None) -> Faults:
    if order is None or (accounts is not None and order.account not in accounts):
        yield Refusal(RejectReason.UNKNOWN_ORDER, "order_id")


def cancel_faults(engine: "ReferenceEngine", command: CancelOrder) -> Faults:
    order = engine.find(command.order_id)
    yield from unknown_order(order, command.accounts)
    assert order
    if engine.instruments[order.symbol].status is InstrumentStatus.HALTED:
        yield Refusal(RejectReason.INSTRUMENT_HALTED, "order_id")


def cancel_all_faults(engine: "ReferenceEngine", command: CancelOrders) -> Faults:
    if command.symbol is None:
        return
    if command.symbol not in engine.instruments:
        yield Refusal(RejectReason.UNKNOWN_SYMBOL, "symbol")
    if engine.instruments[command.symbol].status is InstrumentStatus.HALTED:
        yield Refusal(RejectReason.INSTRUMENT_HALTED, "symbol")


@dataclass(frozen=True)
class Amended:
    """The values that an order would have."""

    price: int | None
    stop_price: int | None
    quantity: int


def amended(order: Order, command: AmendOrder) -> Amended:
    return Amended(
        order.price if command.price is None else command.price,
        order.stop_price if command.stop_price is None else command.stop_price,
        order.quantity if command.quantity is None else command.quantity,
    )


def amend_faults(engine: "ReferenceEngine", command: AmendOrder, batch: Batch | None = None) -> Faults:
    order = engine.find(command.order_id)
    yield from unknown_order(order, command.accounts)
    assert order
    instrument = engine.instruments[order.symbol]
    if instrument.status is InstrumentStatus.HALTED:
        yield Refusal(RejectReason.INSTRUMENT_HALTED, "order_id")
    if instrument.status is InstrumentStatus.CANCEL_ONLY:
        yield Refusal(RejectReason.INSTRUMENT_CANCEL_ONLY, "order_id")
    if order.account in engine.killed:
        yield Refusal(RejectReason.KILL_SWITCH_ENGAGED, "order_id")
    if command.price is None and command.quantity is None and command.stop_price is None:
        yield Refusal(RejectReason.NOTHING_TO_AMEND)
    if command.quantity is not None:
        yield from quantity_faults(instrument, command.quantity)
    if command.stop_price is not None and not order.waits_for_trigger:
        yield Refusal(RejectReason.STOP_PRICE_NOT_ALLOWED, "stop_price")
    if command.price is not None and order.type not in LIMIT_TYPES:
        yield Refusal(RejectReason.PRICE_NOT_ALLOWED, "price")
    yield from price_faults("price", command.price)
    yield from price_faults("stop_price", command.stop_price)
    yield from band_faults(instrument, "price", command.price)
    changed = amended(order, command)
    if changed.quantity > order.filled:
        yield from amend_limit_faults(engine, order, command)
        yield from amended_taking_faults(engine, order, changed, batch, price_given=command.price is not None)


def amended_taking_faults(
    engine: "ReferenceEngine", order: Order, changed: Amended, batch: Batch | None, *, price_given: bool
) -> Faults:
    """Of amendments that make an order trade, or a stop order trigger, where that must not be."""
    instrument = engine.instruments[order.symbol]
    takes_none = instrument.status is InstrumentStatus.POST_ONLY
    if order.where is Where.BOOK and engine.would_trade(order.symbol, order.side, changed.price):
        if order.placed.post_only:
            yield Refusal(RejectReason.POST_ONLY_WOULD_TRADE, "price")
        if takes_none:
            yield Refusal(RejectReason.INSTRUMENT_POST_ONLY, "price")
        if batch:
            yield Refusal(RejectReason.AMENDMENT_WOULD_TRADE, "price")
    if batch and order.where is Where.BOOK and price_given:
        yield from crossing_faults(engine, batch, order.placed, changed.price, ("price", "price"))
    if order.where is Where.STOPS:
        assert changed.stop_price is not None
        if instrument.has_reached(order.side, changed.stop_price):
            if takes_none:
                yield Refusal(RejectReason.INSTRUMENT_POST_ONLY, "stop_price")
            if batch:
                yield Refusal(RejectReason.AMENDMENT_WOULD_TRADE, "stop_price")


# All or nothing


def batch_faults(engine: "ReferenceEngine", items: tuple[OrderCommand, ...]) -> Faults:
    """Of the batch as such, whatever its items say."""
    if not 1 <= len(items) <= engine.limits.max_commands:
        yield Refusal(RejectReason.INVALID_BATCH, "items")
    for number, item in enumerate(items):
        before = items[:number]
        if isinstance(item, PlaceOrder):
            if item.client_order_id is not None and any(names_alike(item, other) for other in before):
                yield Refusal(RejectReason.DUPLICATE_CLIENT_ORDER_ID, "client_order_id", item=number)
        elif any(not isinstance(other, PlaceOrder) and other.order_id == item.order_id for other in before):
            yield Refusal(RejectReason.SAME_ORDER_TWICE, "order_id", item=number)


def names_alike(order: PlaceOrder, other: OrderCommand) -> bool:
    """Whether both have the same client order id."""
    return isinstance(other, PlaceOrder) and (order.account, order.client_order_id) == (
        other.account,
        other.client_order_id,
    )


def item_faults(engine: "ReferenceEngine", items: tuple[OrderCommand, ...], time: int) -> Faults:
    """Of each item, against the state before the batch."""
    for number, item in enumerate(items):
        batch = Batch(items, number)
        match item:
            case CancelOrder():
                faults = cancel_faults(engine, item)
            case AmendOrder():
                faults = amend_faults(engine, item, batch)
            case PlaceOrder():
                faults = batch_place_faults(engine, item, time, batch)
        for fault in faults:
            yield replace(fault, item=number)


def batch_place_faults(engine: "ReferenceEngine", order: PlaceOrder, time: int, batch: Batch) -> Faults:
    yield from place_faults(engine, order, time, batch)
    if order.type is OrderType.LIMIT:
        yield from crossing_faults(engine, batch, order, order.price, ("post_only", "symbol"))


def crossing_faults(
    engine: "ReferenceEngine", batch: Batch, order: PlaceOrder, price: int | None, fields: tuple[str, str]
) -> Faults:
    """Of orders that may only add to the book: they might trade with what another item brings to it."""
    others = prices_to_come(engine, batch.items, order.symbol, order.side.opposite)
    if any(crosses(order.side, price, other) for other in others):
        if order.post_only:
            yield Refusal(RejectReason.POST_ONLY_WOULD_TRADE, fields[0])
        if engine.instruments[order.symbol].status is InstrumentStatus.POST_ONLY:
            yield Refusal(RejectReason.INSTRUMENT_POST_ONLY, fields[1])


def prices_to_come(
    engine: "ReferenceEngine", items: tuple[OrderCommand, ...], symbol: str, side: Side
) -> Iterator[int]:
    """At which prices the batch brings limit orders of this side to the book."""
    for item in items:
        if isinstance(item, PlaceOrder) and item.type is OrderType.LIMIT and (item.symbol, item.side) == (symbol, side):
            if item.price is not None:
                yield item.price
        elif isinstance(item, AmendOrder) and item.price is not None:
            order = engine.find(item.order_id)
            if order and order.where is Where.BOOK and (order.symbol, order.side) == (symbol, side):
                yield item.price


# Instruments and accounts


def instrument_faults(engine: "ReferenceEngine", wanted: DefineInstrument) -> Faults:
    if not re.fullmatch(SYMBOL, wanted.symbol):
        yield Refusal(RejectReason.INVALID_SYMBOL, "symbol")
    for name in ("tick_size", "lot_size"):
        size = getattr(wanted, name)
        if not re.fullmatch(SIZE, size) or not Decimal(size):
            yield Refusal(RejectReason.INVALID_INSTRUMENT, name)
    if not 1 <= wanted.min_quantity <= wanted.max_quantity:
        yield Refusal(RejectReason.INVALID_INSTRUMENT, "min_quantity")
    if wanted.max_quantity > MAX_QUANTITY:
        yield Refusal(RejectReason.INVALID_INSTRUMENT, "max_quantity")
    yield from defined_band_faults(wanted)
    listed = engine.instruments.get(wanted.symbol)
    if listed and listed.status is InstrumentStatus.DELISTED:
        yield Refusal(RejectReason.INSTRUMENT_DELISTED, "symbol")
    for name in ("tick_size", "lot_size"):
        if listed and Decimal(getattr(listed.rules, name)) != Decimal(getattr(wanted, name)):
            yield Refusal(RejectReason.INSTRUMENT_RULES_FIXED, name)


def defined_band_faults(wanted: DefineInstrument) -> Faults:
    lowest, highest, basis_points = wanted.lowest_price, wanted.highest_price, wanted.band_basis_points
    if lowest is not None and not 1 <= lowest <= MAX_PRICE:
        yield Refusal(RejectReason.INVALID_INSTRUMENT, "lowest_price")
    if highest is not None and not 1 <= highest <= MAX_PRICE:
        yield Refusal(RejectReason.INVALID_INSTRUMENT, "highest_price")
    if lowest is not None and highest is not None and lowest > highest:
        yield Refusal(RejectReason.INVALID_INSTRUMENT, "lowest_price")
    if basis_points is not None and not 1 <= basis_points <= MAX_BAND_BASIS_POINTS:
        yield Refusal(RejectReason.INVALID_INSTRUMENT, "band_basis_points")


def status_faults(engine: "ReferenceEngine", command: SetInstrumentStatus) -> Faults:
    if command.symbol not in engine.instruments:
        yield Refusal(RejectReason.UNKNOWN_SYMBOL, "symbol")
    if engine.instruments[command.symbol].status is InstrumentStatus.DELISTED:
        yield Refusal(RejectReason.INSTRUMENT_DELISTED, "symbol")


def limits_faults(engine: "ReferenceEngine", command: SetAccountLimits) -> Faults:
    yield from account_faults(command.account)
    if command.max_open_orders is not None and not 0 <= command.max_open_orders <= engine.limits.max_resting_orders:
        yield Refusal(RejectReason.INVALID_LIMITS, "max_open_orders")
    symbols = [limits.symbol for limits in command.symbols]
    for number, limits in enumerate(command.symbols):
        if limits.symbol not in engine.instruments:
            yield Refusal(RejectReason.UNKNOWN_SYMBOL, "symbol")
        if limits.symbol in symbols[:number]:
            yield Refusal(RejectReason.INVALID_LIMITS, "symbol")
        highest = {
            "max_order_quantity": MAX_QUANTITY * 1000,
            "max_order_notional": MAX_NOTIONAL,
            "max_position": MAX_QUANTITY * 1000,
        }
        for name, most in highest.items():
            value = getattr(limits, name)
            if value is not None and not 0 <= value <= most:
                yield Refusal(RejectReason.INVALID_LIMITS, name)


def switch_faults(command: CancelAllAfter) -> Faults:
    yield from account_faults(command.account)
    if not 0 <= command.delay <= MAX_DELAY:
        yield Refusal(RejectReason.INVALID_DELAY, "delay")
