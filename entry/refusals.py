"""The engine's refusals, and unknown results, as problems that tell a client what to do. Pure."""

from contracts.messages import (
    AmendOrder,
    CancelOrder,
    Command,
    DefineInstrument,
    OrderStatus,
    PlaceOrder,
    Refusal,
    RejectReason,
)
from contracts.views import Instrument
from entry.commands import price_advice, quantity_advice
from entry.problems import CODES, Declined, Problem

_ADVICE = {
    RejectReason.UNKNOWN_SYMBOL: "GET /instruments lists the symbols.",
    RejectReason.PRICE_REQUIRED: 'Send a price, or "type": "market" to take whatever price there is.',
    RejectReason.PRICE_NOT_ALLOWED: 'Leave the price out, or send "type": "limit".',
    RejectReason.POST_ONLY_NOT_ALLOWED: "Leave post_only out, or send a limit order with time_in_force GTC.",
    RejectReason.POST_ONLY_WOULD_TRADE: "Choose a price that does not meet the other side, or leave post_only out.",
    RejectReason.TOO_MANY_ORDERS: "Cancel resting orders, or try again later.",
    RejectReason.NOTHING_TO_AMEND: "Send price, quantity or both.",
    RejectReason.INVALID_INSTRUMENT: "min_quantity must not be above max_quantity.",
}


def refused(command: Command, refusal: Refusal, sequence: int, instrument: Instrument | None) -> Declined:
    """The problem of a command that the engine refused. `instrument`: the one it is about, as far as known."""
    return Declined(
        Problem(
            code=refusal.reason.value,
            detail=_detail(command, refusal, instrument),
            field=refusal.field,
            order_id=refusal.order_id,
            sequence=sequence,
        )
    )


def closed(order_id: int, status: OrderStatus, sequence: int) -> Declined:
    return Declined(
        Problem(
            code="order_not_resting",
            detail=f"Order {order_id} is {status.value} and no longer in the book. GET /orders/{order_id} shows it.",
            field="order_id",
            order_id=order_id,
            order_status=status,
            sequence=sequence,
        )
    )


def not_found(order_id: int, sequence: int | None = None) -> Declined:
    return _unknown(order_id, f"There is no order {order_id}. GET /orders lists yours.", sequence)


def not_resting(order_id: int, sequence: int) -> Declined:
    """Like `not_found`, when the history cannot be asked for what became of it."""
    return _unknown(
        order_id,
        f"Order {order_id} is not in the book. Whether it was filled or canceled before cannot be looked up now: ask "
        f"GET /orders/{order_id} later.",
        sequence,
    )


def result_unknown(command: Command) -> Declined:
    """The command was sent and no answer came: say how the client finds out."""
    return Declined(
        Problem(
            code="result_unknown",
            detail="The command was sent and no answer came in time: it may have been carried out, or not. "
            + _how_to_find_out(command),
        )
    )


def _unknown(order_id: int, detail: str, sequence: int | None) -> Declined:
    code = RejectReason.UNKNOWN_ORDER.value
    return Declined(Problem(code=code, detail=detail, field="order_id", sequence=sequence))


def _detail(command: Command, refusal: Refusal, instrument: Instrument | None) -> str:
    code = CODES[refusal.reason.value]
    if refusal.reason is RejectReason.DUPLICATE_CLIENT_ORDER_ID:
        return f"Order {refusal.order_id} has it: see GET /orders/{refusal.order_id}, or use another."
    return f"{code.meaning} {_advice(refusal.reason, instrument)}".strip()


def _advice(reason: RejectReason, instrument: Instrument | None) -> str:
    if instrument is not None:
        if reason is RejectReason.PRICE_OUT_OF_RANGE:
            return price_advice(instrument)
        if reason is RejectReason.QUANTITY_OUT_OF_RANGE:
            return quantity_advice(instrument)
        if reason is RejectReason.INSTRUMENT_RULES_FIXED:
            return f"Those of {instrument.symbol} are {instrument.tick_size} and {instrument.lot_size}."
    return _ADVICE.get(reason, "")


def _how_to_find_out(command: Command) -> str:
    match command:
        case PlaceOrder(account=account, client_order_id=str() as name):
            return (
                f"GET /orders?account={account}&client_order_id={name} tells; sending the same order again is safe, "
                "the client_order_id is taken once only."
            )
        case PlaceOrder(account=account):
            return (
                f"GET /orders?account={account} lists the newest orders first. Send a client_order_id with each order: "
                "then sending it again is safe."
            )
        case CancelOrder(order_id=order_id) | AmendOrder(order_id=order_id):
            return f"GET /orders/{order_id} tells; sending the same again is safe."
        case DefineInstrument():
            return "GET /instruments tells; sending the same again is safe."
