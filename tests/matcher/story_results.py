"""What came of a command, in the words of the stories. The language is described in story.py."""

from collections.abc import Iterable, Iterator

from contracts.messages import (
    AccountLimitsSet,
    CancelAllElapsed,
    CancelAllScheduled,
    Event,
    InstrumentDefined,
    InstrumentStatusChanged,
    ItemStarted,
    KillSwitchSet,
    OrderAccepted,
    OrderAmended,
    OrderCanceled,
    OrderReduced,
    OrdersCanceled,
    OrderState,
    OrderTriggered,
    OrderType,
    Outcome,
    Refusal,
    Repeated,
    Result,
    SelfTradePrevention,
    Side,
    Terms,
    TimeInForce,
    TradeExecuted,
)
from tests.matcher.story_commands import FIRST_MIDNIGHT, SECOND

Queued = tuple[Side, int, int, int]
"""Side, price, order id, and how much of the order is to be seen."""


def tell(result: Result) -> Iterator[str]:
    match result:
        case Refusal():
            yield tell_refusal(result)
        case Repeated(order_id):
            yield f"repeated: order #{order_id}"
        case Outcome(events):
            yield from map(tell_event, events)
            yield from tell_levels(result)


def tell_refusal(refusal: Refusal) -> str:
    words = f"refused: {refusal.reason.value}"
    words += f" ({refusal.field})" if refusal.field else ""
    words += f", order #{refusal.order_id}" if refusal.order_id else ""
    words += f", item {refusal.item}" if refusal.item is not None else ""
    words += f", at least {refusal.lowest}" if refusal.lowest is not None else ""
    words += f", at most {refusal.highest}" if refusal.highest is not None else ""
    words += f", the limit is {refusal.limit}" if refusal.limit is not None else ""
    return words


def tell_event(event: Event) -> str:
    match event:
        case OrderAccepted(order_id, quantity):
            return f"accepted #{order_id}" + (f", quantity {quantity}" if quantity is not None else "")
        case TradeExecuted():
            return (
                f"trade {event.trade_id}: {event.quantity} @ {event.price}{on(event.symbol)}, "
                f"maker #{event.maker_order_id}, taker #{event.taker_order_id} ({event.taker_side.value})"
            )
        case OrderCanceled(order, reason):
            return f"canceled #{order.order_id} ({reason.value}): {describe(order)}"
        case OrderAmended(order, priority_kept):
            return f"amended #{order.order_id}, {'keeps its place' if priority_kept else 'moves'}: {describe(order)}"
        case OrderTriggered(order_id, trade_id):
            return f"triggered #{order_id} by trade {trade_id}"
        case OrderReduced(order):
            return f"reduced #{order.order_id}: {describe(order)}"
        case OrdersCanceled(count):
            return f"cancels {count} order{'' if count == 1 else 's'}"
        case ItemStarted(item):
            return f"item {item}:"
    return tell_setting(event)


def tell_setting(event: Event) -> str:
    match event:
        case InstrumentDefined(symbol):
            return f"listed {symbol}"
        case InstrumentStatusChanged(symbol, status):
            return f"{symbol} is {status.value}"
        case CancelAllScheduled(account, None):
            return f"no cancelation is scheduled for {account}"
        case CancelAllScheduled(account, deadline):
            assert deadline is not None
            return f"all orders of {account} will be canceled at {clock(deadline)}"
        case CancelAllElapsed(account):
            return f"the time of {account} is up"
        case AccountLimitsSet(account):
            return f"limits of {account} set"
        case KillSwitchSet(account, engaged):
            return f"kill switch of {account} {'engaged' if engaged else 'released'}"
    raise AssertionError(event)


def tell_levels(outcome: Outcome) -> Iterator[str]:
    for level in outcome.levels:
        half = "bid" if level.side is Side.BUY else "ask"
        yield f"{half} {level.price}{on(level.symbol)} now {level.quantity}"


def describe(order: OrderState) -> str:
    words = [order.side.value, str(order.quantity)]
    words += [f"@ {order.price}"] if order.price is not None else []
    words += ["market"] if order.type is OrderType.MARKET else []
    words += describe_terms(order.terms or Terms())
    words += ["triggered"] if order.triggered else []
    words += [order.time_in_force.value] if order.time_in_force is not TimeInForce.GTC else []
    words += ["post-only"] if order.post_only else []
    words += [f"by {order.account}"] if order.account != "default" else []
    words += [f"as {order.client_order_id}"] if order.client_order_id is not None else []
    fills = f", {order.filled_quantity} filled for {order.filled_notional}" if order.filled_quantity else ", unfilled"
    return " ".join(words) + on(order.symbol) + fills


def describe_terms(terms: Terms) -> Iterator[str]:
    for word, value in [
        ("stop", terms.stop_price),
        ("show", terms.display_quantity),
        ("protect", terms.protection_price),
        ("for", terms.notional),
        ("until", None if terms.expires_at is None else clock(terms.expires_at)),
    ]:
        if value is not None:
            yield f"{word} {value}"
    if terms.self_trade_prevention is not SelfTradePrevention.NONE:
        yield f"self-trade {terms.self_trade_prevention.value}"


def clock(time: int) -> str:
    minutes, seconds = divmod((time - FIRST_MIDNIGHT) // SECOND, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{seconds:02}"


def on(symbol: str) -> str:
    return "" if symbol == "X" else f" on {symbol}"


def draw(orders: Iterable[Queued], left: str = "bid", middle: str = "price", right: str = "ask") -> Iterator[str]:
    """Prices from high to low; at each, the first in the queue first. Of stops a price has buyers and sellers."""
    queues: dict[tuple[int, Side], list[str]] = {}
    for side, price, order_id, quantity in orders:
        queues.setdefault((price, side), []).append(f"{quantity} (#{order_id})")
    if not queues:
        yield "empty"
        return
    rows = [
        (price, ", ".join(queues.get((price, Side.BUY), ())), ", ".join(queues.get((price, Side.SELL), ())))
        for price in sorted({price for price, _ in queues}, reverse=True)
    ]
    width = max([len(left), *(len(buyers) for _, buyers, _ in rows)])
    yield f"{left:>{width}} | {middle:>5} | {right}"
    for price, buyers, sellers in rows:
        yield f"{buyers:>{width}} | {price:>5} | {sellers}"
