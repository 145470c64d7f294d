"""Orders and trades as people read them in a terminal. Pure."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal

from cli.tables import columns
from pricetime_client.views import Order, OrderEvent, Trade

_HEAD = ("ID", "ACCOUNT", "SYMBOL", "SIDE", "TYPE", "PRICE", "QUANTITY", "FILLED", "STATUS", "PLACED", "CLIENT ID")
_RIGHT = ("ID", "PRICE", "QUANTITY", "FILLED")


def moment(time: datetime) -> str:
    """In UTC, to the millisecond.

    >>> moment(datetime(2026, 11, 21, 9, 30, 0, 123456, UTC))
    '2026-11-21 09:30:00.123'
    """
    return time.astimezone(UTC).isoformat(" ", "milliseconds").removesuffix("+00:00")


def decimal(value: Decimal | None) -> str:
    return "-" if value is None else format(value, "f")


def order_lines(order: Order) -> Iterator[str]:
    """What became of it, and its trades, if the answer has them."""
    yield f"order {order.order_id} is {_status(order)}: {_terms(order)}, {_fills(order)}, account {order.account}"
    for trade in order.trades or ():
        yield f"  trade {trade.trade_id}: {decimal(trade.quantity)} at {decimal(trade.price)}"
    if order.priority_kept is True:
        yield "  it keeps its place"
    elif order.priority_kept is False:
        yield "  it goes to the end of its price level"


def _status(order: Order) -> str:
    words = order.status.replace("_", " ")
    return words if order.reason is None else f"{words} ({order.reason.replace('_', ' ')})"


def _terms(order: Order) -> str:
    amount = f"for {decimal(order.notional)}" if order.notional else decimal(order.quantity)
    found = [f"{order.side} {amount} {order.symbol}", _price(order)]
    if order.stop_price is not None:
        found.append(f"from {decimal(order.stop_price)}")
    if order.time_in_force != "GTC":
        found.append(order.time_in_force)
    if order.expires_at is not None:
        found.append(f"until {moment(order.expires_at)}")
    if order.post_only:
        found.append("post only")
    if order.display_quantity is not None:
        found.append(f"showing {decimal(order.display_quantity)}")
    return " ".join(found)


def _price(order: Order) -> str:
    return "at market" if order.price is None else f"at {decimal(order.price)}"


def _fills(order: Order) -> str:
    if not order.filled_quantity:
        return "nothing filled"
    return f"{decimal(order.filled_quantity)} filled at {decimal(order.average_price)} on average"


def order_table(orders: Sequence[Order]) -> list[str]:
    return columns(_HEAD, [_order_row(order) for order in orders], _RIGHT)


def _order_row(order: Order) -> tuple[str, ...]:
    return (
        str(order.order_id),
        order.account,
        order.symbol,
        order.side,
        order.type,
        decimal(order.price if order.price is not None else order.stop_price),
        decimal(order.quantity),
        decimal(order.filled_quantity),
        order.status,
        moment(order.created_at),
        order.client_order_id or "-",
    )


def life(events: Sequence[OrderEvent]) -> list[str]:
    """What happened to an order, oldest first."""
    head = ("SEQUENCE", "TIME", "EVENT", "PRICE", "QUANTITY", "FILLED", "WHY")
    return columns(head, [_event_row(event) for event in events], ("SEQUENCE", "PRICE", "QUANTITY", "FILLED"))


def _event_row(event: OrderEvent) -> tuple[str, ...]:
    trade = event.trade
    why = event.reason or ""
    if trade is not None:
        why = f"trade {trade.trade_id}: {decimal(trade.quantity)} at {decimal(trade.price)}"
    return (
        str(event.sequence),
        moment(event.time),
        event.event,
        decimal(event.price),
        decimal(event.quantity),
        decimal(event.filled_quantity),
        why.replace("_", " "),
    )


def trade_row(trade: Trade) -> tuple[str, ...]:
    return (
        str(trade.trade_id),
        moment(trade.executed_at),
        trade.symbol,
        trade.taker_side,
        decimal(trade.price),
        decimal(trade.quantity),
    )


TRADE_HEAD = ("ID", "TIME", "SYMBOL", "TAKER", "PRICE", "QUANTITY")
TRADE_RIGHT = ("ID", "PRICE", "QUANTITY")
