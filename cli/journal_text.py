"""Commits as people read them, and as their programs do. Pure.

    1042  2026-11-21 00:10:03.123456
      place buy 1.50000000 BTC-USD at 99.50, account anna, client order id x-1
        order 17 accepted
        trade 55: 1.00000000 BTC-USD at 99.50; order 17 takes from order 12

Prices and quantities are whole ticks and lots in the journal; the instruments say what they come to. Those of an
instrument that nobody knows stay ticks and lots, and say so.
"""

from collections.abc import Iterator, Sequence
from enum import Enum
from typing import Any, NamedTuple

from msgspec import Struct
from msgspec.structs import asdict

from contracts.decimals import Step
from contracts.messages import (
    AccountLimitsSet,
    AdvanceClock,
    AllOrNothing,
    AmendOrder,
    CancelAllAfter,
    CancelAllElapsed,
    CancelAllScheduled,
    CancelOrder,
    CancelOrders,
    CancelReason,
    Command,
    Commit,
    Continue,
    DefineInstrument,
    Event,
    InstrumentDefined,
    InstrumentStatusChanged,
    ItemStarted,
    KillSwitchSet,
    LevelChanged,
    OrderAccepted,
    OrderAmended,
    OrderCanceled,
    OrderReduced,
    OrdersCanceled,
    OrderState,
    OrderTriggered,
    Outcome,
    PlaceOrder,
    SelfTradePrevention,
    SetAccountLimits,
    SetInstrumentStatus,
    SetKillSwitch,
    Terms,
    TimeInForce,
    TradeExecuted,
)
from contracts.orders import Standing, accepted, concerned, follow
from contracts.views import Instrument, defined_instrument, format_time

_SECOND = 1_000_000


# What is wanted of a commit


class Wanted(NamedTuple):
    """None for everything."""

    order_id: int | None = None
    symbol: str | None = None

    @property
    def is_all(self) -> bool:
        return self.order_id is None and self.symbol is None


class Part(NamedTuple):
    """A command, or an item of an all-or-nothing batch, with those of its events that are wanted."""

    command: Command
    events: tuple[Event, ...] = ()
    levels: tuple[LevelChanged, ...] = ()
    item: int | None = None
    """Which item, from 0; the number after the last stands for what the whole batch set off."""

    @property
    def symbol(self) -> str | None:
        """That of the command, or else of what it led to."""
        named = getattr(self.command, "symbol", None)
        return named or next((symbol for each in self.events if (symbol := _symbol(each)) is not None), None)


def parts(commit: Commit, wanted: Wanted) -> list[Part]:
    """Each command of the commit with what it led to, as far as that is wanted."""
    every = (part for pair in zip(commit.commands, commit.outcomes, strict=True) for part in _parts(*pair))
    if wanted.is_all:
        return list(every)
    chosen = (part._replace(events=tuple(_fitting(part, wanted)), levels=_levels(part, wanted)) for part in every)
    return [part for part in chosen if part.events]


def _parts(command: Command, outcome: Outcome) -> Iterator[Part]:
    if not isinstance(command, AllOrNothing):
        yield Part(command, outcome.events, outcome.levels)
        return
    yield Part(command, (), outcome.levels)
    starts = [at for at, event in enumerate(outcome.events) if isinstance(event, ItemStarted)]
    for start, end in zip(starts, [*starts[1:], len(outcome.events)], strict=True):
        started = outcome.events[start]
        assert isinstance(started, ItemStarted)
        origin = command.items[started.item] if started.item < len(command.items) else command
        yield Part(origin, outcome.events[start + 1 : end], item=started.item)


def _fitting(part: Part, wanted: Wanted) -> Iterator[Event]:
    for event in part.events:
        is_order = wanted.order_id is None or wanted.order_id in concerned(event)
        if is_order and wanted.symbol in (None, _symbol(event) or part.symbol):
            yield event


def _levels(part: Part, wanted: Wanted) -> tuple[LevelChanged, ...]:
    """An order has no levels to itself."""
    return () if wanted.order_id else tuple(each for each in part.levels if each.symbol == wanted.symbol)


def _symbol(event: Event) -> str | None:
    order = getattr(event, "order", None)
    symbol: str | None = getattr(event, "symbol", None) if order is None else order.symbol
    return symbol


def state_after(standing: Standing | None, order_id: int, commit: Commit) -> Standing | None:
    """What has become of the order with this commit; None until it is accepted."""
    for part in (each for pair in zip(commit.commands, commit.outcomes, strict=True) for each in _parts(*pair)):
        for event in part.events:
            if order_id not in concerned(event):
                continue
            if isinstance(event, OrderAccepted):
                assert isinstance(part.command, PlaceOrder)
                standing = accepted(event, part.command, commit.time)
            elif standing is not None:
                standing = follow(standing, event)
    return standing


# As decimals

_TICKS = {"price", "stop_price", "protection_price", "lowest_price", "highest_price"}
_LOTS = {
    "quantity",
    "filled_quantity",
    "display_quantity",
    "min_quantity",
    "max_quantity",
    "max_order_quantity",
    "max_position",
}
_NOTIONALS = {"notional", "filled_notional", "max_order_notional"}
_TIMES = {"created_at", "expires_at", "deadline", "time"}


class Scale:
    """The listed instruments, as far as they are known, and what ticks and lots come to by them."""

    def __init__(self, instruments: Sequence[Instrument] = ()) -> None:
        self._known = {each.symbol: each for each in instruments}

    @property
    def is_known(self) -> bool:
        return bool(self._known)

    def learn(self, commit: Commit) -> None:
        """What the commit itself says of instruments: their sizes never change."""
        for command in commit.commands:
            if isinstance(command, DefineInstrument):
                self._known.setdefault(command.symbol, defined_instrument(command))

    def price(self, ticks: int, symbol: str | None) -> str:
        found = self._known.get(symbol or "")
        return _decimal(ticks, None if found is None else found.tick, "ticks")

    def quantity(self, lots: int, symbol: str | None) -> str:
        found = self._known.get(symbol or "")
        return _decimal(lots, None if found is None else found.lot, "lots")

    def notional(self, steps: int | str, symbol: str | None) -> str:
        found = self._known.get(symbol or "")
        return _decimal(int(steps), None if found is None else found.notional, "ticks x lots")

    def average(self, order: OrderState) -> str:
        """Of what is filled of it."""
        found = self._known.get(order.symbol)
        if found is None:
            return f"{int(order.filled_notional) // order.filled_quantity} ticks"
        return found.tick.format_ratio(int(order.filled_notional), order.filled_quantity)

    def field(self, name: str, value: object, symbol: str | None) -> object:
        """A field of a message, as JSON has it."""
        if isinstance(value, int) and not isinstance(value, bool):
            if name in _TICKS:
                return self.price(value, symbol)
            if name in _LOTS:
                return self.quantity(value, symbol)
            if name in _TIMES:
                return format_time(value)
        if name in _NOTIONALS and isinstance(value, int | str):
            return self.notional(value, symbol)
        return value


def _decimal(steps: int, step: Step | None, unit: str) -> str:
    return f"{steps} {unit}" if step is None else step.format(steps)


# For programs


def as_json(commit: Commit, digest: bytes, wanted: Wanted, scale: Scale) -> dict[str, Any]:
    """Names are those of contracts/messages.py; nothing that is None is there."""
    return {
        "sequence": commit.sequence,
        "time": format_time(commit.time),
        "hash": digest.hex(),
        "matcher_epoch": commit.matcher_epoch,
        "barrier": commit.is_barrier,
        "commands": [_part_json(part, scale) for part in parts(commit, wanted)],
    }


def _part_json(part: Part, scale: Scale) -> dict[str, Any]:
    symbol = part.symbol
    return {
        **({} if part.item is None else {"item": part.item}),
        "command": _tagged(part.command, "command", symbol, scale),
        "events": [_tagged(event, "event", symbol, scale) for event in part.events],
        "levels": [_plain(level, symbol, scale) for level in part.levels],
    }


def _tagged(message: Struct, name: str, symbol: str | None, scale: Scale) -> dict[str, Any]:
    return {name: message.__struct_config__.tag, **_plain(message, symbol, scale)}


def _plain(message: Struct, symbol: str | None, scale: Scale) -> dict[str, Any]:
    symbol = getattr(message, "symbol", None) or symbol
    return {name: _value(name, value, symbol, scale) for name, value in asdict(message).items() if value is not None}


def _value(name: str, value: object, symbol: str | None, scale: Scale) -> object:
    if isinstance(value, Struct):
        return _plain(value, symbol, scale)
    if isinstance(value, tuple):
        return [_value(name, each, symbol, scale) for each in value]
    return scale.field(name, value.value if isinstance(value, Enum) else value, symbol)


# For people


def as_text(commit: Commit, wanted: Wanted, scale: Scale) -> list[str]:
    """The lines of a commit; none when nothing of it is wanted."""
    chosen = parts(commit, wanted)
    if not chosen and not wanted.is_all:
        return []
    heading = f"{commit.sequence}  {moment(commit.time)}"
    if commit.is_barrier:
        heading += f"  matcher epoch {commit.matcher_epoch} begins"
    return [heading, *(line for part in chosen for line in _part_lines(part, scale))]


def moment(time: int) -> str:
    """
    >>> moment(1_430_438_404_518_000)
    '2015-05-01 00:00:04.518000'
    """
    return format_time(time).replace("T", " ").removesuffix("Z")


def conclusion(standing: Standing, scale: Scale) -> str:
    """What has become of an order, in a line."""
    order, status, reason = standing
    filled, quantity = (scale.quantity(each, order.symbol) for each in (order.filled_quantity, order.quantity))
    average = f" at {scale.average(order)} on average" if order.filled_quantity else ""
    why = f" ({_words(reason)})" if reason is not None else ""
    return f"order {order.order_id} is {_words(status)}{why}: {filled} of {quantity} {order.symbol} filled{average}"


def _part_lines(part: Part, scale: Scale) -> Iterator[str]:
    indent = "  " if part.item is None else "    "
    yield indent + _command(part, scale)
    for event in part.events:
        yield f"{indent}  {_event(event, part.symbol, scale)}"


def _command(part: Part, scale: Scale) -> str:
    command, symbol = part.command, part.symbol
    match command:
        case PlaceOrder():
            return _place(command, scale)
        case CancelOrder(order_id=order_id):
            return f"cancel order {order_id}"
        case AmendOrder(order_id=order_id):
            return f"amend order {order_id} to {_amendment(command, symbol, scale)}"
        case AllOrNothing() if part.item is not None:
            return "set off by all of it"
        case AllOrNothing(items=items):
            return f"all or nothing, {_count(len(items), 'item')}"
        case CancelOrders(accounts=accounts, symbol=only, side=side):
            whose = "every account" if accounts is None else ", ".join(accounts)
            return f"cancel all {'' if side is None else side.name.lower() + ' '}orders of {whose}{_in(only)}"
        case CancelAllAfter(account=account, delay=delay):
            when = f"in {delay / _SECOND:g} s" if delay else "never"
            return f"cancel all orders of {account} {when} unless told again"
        case AdvanceClock():
            return "what is due at this time"
        case Continue():
            return "more of what the command before set off"
    return _administration(command, scale)


def _administration(command: Command, scale: Scale) -> str:
    match command:
        case DefineInstrument():
            return f"define instrument {_pairs(command, scale)}"
        case SetInstrumentStatus(symbol=symbol, status=status):
            return f"set {symbol} to {_words(status)}"
        case SetAccountLimits(account=account, max_open_orders=most, symbols=symbols):
            limits = ([] if most is None else [f"max open orders {most}"]) + [_pairs(each, scale) for each in symbols]
            return f"limit account {account}: {'; '.join(limits) or 'no limits'}"
        case SetKillSwitch(account=account, engaged=engaged):
            return f"{'engage' if engaged else 'release'} the kill switch of {account}"
    raise AssertionError(command)


def _place(order: PlaceOrder, scale: Scale) -> str:
    terms, symbol = order.terms or Terms(), order.symbol
    if terms.notional is None:
        what = f"{scale.quantity(order.quantity, symbol)} {symbol}"
    else:
        what = f"{symbol} for {scale.notional(terms.notional, symbol)}"
    price = "at market" if order.price is None else f"at {scale.price(order.price, symbol)}"
    return ", ".join([f"place {order.side.name.lower()} {what} {price}", *_terms(order, terms, scale)])


def _terms(order: PlaceOrder, terms: Terms, scale: Scale) -> Iterator[str]:
    symbol = order.symbol
    if terms.stop_price is not None:
        yield f"stop {scale.price(terms.stop_price, symbol)}"
    if order.time_in_force is not TimeInForce.GTC:
        yield order.time_in_force.value
    if terms.expires_at is not None:
        yield f"until {moment(terms.expires_at)}"
    if order.post_only:
        yield "post only"
    if terms.display_quantity is not None:
        yield f"showing {scale.quantity(terms.display_quantity, symbol)}"
    if terms.protection_price is not None:
        yield f"no further than {scale.price(terms.protection_price, symbol)}"
    if terms.self_trade_prevention is not SelfTradePrevention.NONE:
        yield f"self-trade prevention {_words(terms.self_trade_prevention)}"
    yield f"account {order.account}"
    if order.client_order_id is not None:
        yield f"client order id {order.client_order_id}"


def _amendment(command: AmendOrder, symbol: str | None, scale: Scale) -> str:
    found = []
    if command.price is not None:
        found.append(f"price {scale.price(command.price, symbol)}")
    if command.quantity is not None:
        found.append(f"quantity {scale.quantity(command.quantity, symbol)}")
    if command.stop_price is not None:
        found.append(f"stop price {scale.price(command.stop_price, symbol)}")
    return ", ".join(found)


def _event(event: Event, symbol: str | None, scale: Scale) -> str:
    match event:
        case OrderAccepted(order_id=order_id, quantity=quantity):
            came_to = "" if quantity is None else f", for {scale.quantity(quantity, symbol)} {symbol}"
            return f"order {order_id} accepted{came_to}"
        case TradeExecuted():
            return _trade(event, scale)
        case OrderCanceled(order=order, reason=reason):
            return _canceled(order, reason, scale)
        case OrderAmended(order=order, priority_kept=kept):
            return (
                f"order {order.order_id} amended: {_standing(order, scale)}, {'keeps' if kept else 'loses'} its place"
            )
        case OrderReduced(order=order):
            return f"order {order.order_id} reduced by self-trade prevention: {_standing(order, scale)}"
        case OrderTriggered(order_id=order_id, trade_id=trade_id):
            return f"order {order_id} triggered by trade {trade_id}"
        case OrdersCanceled(count=count):
            return f"{_count(count, 'order')} canceled"
    return _of_account_or_instrument(event)


def _of_account_or_instrument(event: Event) -> str:
    match event:
        case CancelAllScheduled(account=account, deadline=deadline):
            when = "disarmed" if deadline is None else f"goes off at {moment(deadline)}"
            return f"dead-man's switch of {account}: {when}"
        case CancelAllElapsed(account=account):
            return f"dead-man's switch of {account} went off"
        case InstrumentDefined(symbol=symbol):
            return f"{symbol} defined"
        case InstrumentStatusChanged(symbol=symbol, status=status):
            return f"{symbol} is {_words(status)}"
        case AccountLimitsSet(account=account):
            return f"limits of {account} set"
        case KillSwitchSet(account=account, engaged=engaged):
            return f"kill switch of {account} {'engaged' if engaged else 'released'}"
    raise AssertionError(event)


def _trade(trade: TradeExecuted, scale: Scale) -> str:
    quantity, price = scale.quantity(trade.quantity, trade.symbol), scale.price(trade.price, trade.symbol)
    orders = f"order {trade.taker_order_id} takes from order {trade.maker_order_id}"
    return f"trade {trade.trade_id}: {quantity} {trade.symbol} at {price}; {orders}"


def _canceled(order: OrderState, reason: CancelReason, scale: Scale) -> str:
    left, quantity = (
        scale.quantity(each, order.symbol) for each in (order.quantity - order.filled_quantity, order.quantity)
    )
    if reason is CancelReason.EXPIRED:
        return f"order {order.order_id} expired, {left} of {quantity} {order.symbol} unfilled"
    return f"order {order.order_id} canceled ({_words(reason)}), {left} of {quantity} {order.symbol} unfilled"


def _standing(order: OrderState, scale: Scale) -> str:
    """How it stands after an event."""
    stop = order.terms.stop_price if order.terms is not None and not order.triggered else None
    return " ".join(
        [
            f"{scale.quantity(order.quantity, order.symbol)} {order.symbol}",
            "at market" if order.price is None else f"at {scale.price(order.price, order.symbol)}",
            *([] if stop is None else [f"from {scale.price(stop, order.symbol)}"]),
        ]
    )


def _pairs(message: Struct, scale: Scale) -> str:
    """Whatever is set of it."""
    fields = _plain(message, None, scale)
    symbol = fields.pop("symbol")
    return ", ".join([str(symbol), *(f"{name.replace('_', ' ')} {value}" for name, value in fields.items())])


def _in(symbol: str | None) -> str:
    return "" if symbol is None else f" in {symbol}"


def _words(choice: Enum) -> str:
    return str(choice.value).replace("_", " ")


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
