"""The engine's refusals, and unknown results, as problems that tell a client what to do. Pure."""

from msgspec.structs import replace

from contracts.messages import (
    AllOrNothing,
    AmendOrder,
    CancelAllAfter,
    CancelOrder,
    CancelOrders,
    ClientCommand,
    DefineInstrument,
    OrderStatus,
    PlaceOrder,
    Refusal,
    RejectReason,
    SetAccountLimits,
    SetInstrumentStatus,
    SetKillSwitch,
)
from contracts.views import Instrument
from entry.administration import delay_advice
from entry.problems import CODES, Declined, Problem, quoted
from entry.values import notional_advice, price_advice, quantity_advice

_ADVICE = {
    RejectReason.UNKNOWN_SYMBOL: "GET /instruments lists the symbols.",
    RejectReason.PRICE_REQUIRED: 'Send a price, or "type": "market" to take whatever price there is.',
    RejectReason.PRICE_NOT_ALLOWED: 'Leave the price out, or send "type": "limit" (after a trigger: "stop_limit").',
    RejectReason.STOP_PRICE_REQUIRED: "Send stop_price: the order waits for a trade at that price or beyond.",
    RejectReason.STOP_PRICE_NOT_ALLOWED: 'Leave stop_price out, or send "type": "stop" or "stop_limit".',
    RejectReason.DISPLAY_QUANTITY_NOT_ALLOWED: "Leave display_quantity out, or send a limit order that may rest.",
    RejectReason.DISPLAY_QUANTITY_OUT_OF_RANGE: "Choose a display_quantity in between, or leave it out.",
    RejectReason.PROTECTION_PRICE_NOT_ALLOWED: "Leave protection_price out; the price of a limit order protects it.",
    RejectReason.NOTIONAL_NOT_ALLOWED: 'Send quantity, or "type": "market" with notional alone.',
    RejectReason.NOTIONAL_TOO_SMALL: "Send a larger notional.",
    RejectReason.NO_LIQUIDITY: "Send a limit order, or try again later.",
    RejectReason.TIME_IN_FORCE_NOT_ALLOWED: "Send IOC or leave time_in_force out.",
    RejectReason.EXPIRY_REQUIRED: 'Send expires_at, such as "2030-01-31T12:00:00Z", or another time_in_force.',
    RejectReason.EXPIRY_NOT_ALLOWED: 'Leave expires_at out, or send "time_in_force": "GTD".',
    RejectReason.EXPIRY_IN_THE_PAST: "Send a later moment; the exchange's clock decides.",
    RejectReason.POST_ONLY_NOT_ALLOWED: "Leave post_only out, or send a limit order with time_in_force GTC.",
    RejectReason.POST_ONLY_WOULD_TRADE: "Choose a price that does not meet the other side, or leave post_only out.",
    RejectReason.INSTRUMENT_HALTED: "Try again when it trades; GET /instruments shows the status.",
    RejectReason.INSTRUMENT_CANCEL_ONLY: "Try again when it trades; GET /instruments shows the status.",
    RejectReason.INSTRUMENT_POST_ONLY: "Choose a price that does not meet the other side, or wait until it trades.",
    RejectReason.KILL_SWITCH_ENGAGED: "PUT /accounts/{account}/kill-switch releases it; that needs the scope admin.",
    RejectReason.TOO_MANY_ORDERS: "Cancel open orders, or try again later.",
    RejectReason.MAX_OPEN_ORDERS: "Cancel some first.",
    RejectReason.NOTHING_TO_AMEND: "Send at least one of them.",
    RejectReason.INVALID_DELAY: delay_advice(),
    RejectReason.SAME_ORDER_TWICE: "Say everything about an order in one item, or send the batch item by item.",
    RejectReason.AMENDMENT_WOULD_TRADE: "Amend it outside the batch, or cancel it and place another one.",
}
_INVALID_INSTRUMENT = {
    "min_quantity": "min_quantity must not be above max_quantity.",
    "lowest_price": "lowest_price must not be above highest_price.",
}


def refused(
    command: ClientCommand, refusal: Refusal, sequence: int, instrument: Instrument | None, item: int | None = None
) -> Declined:
    """The problem of a command that the engine refused. `instrument`: the one it is about, as far as known."""
    return Declined(
        Problem(
            code=refusal.reason.value,
            detail=_detail(command, refusal, instrument),
            field=refusal.field,
            order_id=refusal.order_id,
            sequence=sequence,
            item=item,
            lowest_price=_price(refusal.lowest, instrument),
            highest_price=_price(refusal.highest, instrument),
            limit=None if refusal.limit is None else _limit(refusal.reason, refusal.limit, instrument),
        )
    )


def of_item(declined: Declined, item: int) -> Declined:
    """The problem of one item as the problem of its whole batch."""
    return Declined(replace(declined.problem, item=item))


def closed(order_id: int, status: OrderStatus, sequence: int) -> Declined:
    return Declined(
        Problem(
            code="order_not_resting",
            detail=f"Order {order_id} is {status.value} and no longer open. GET /orders/{order_id} shows it.",
            field="order_id",
            order_id=order_id,
            order_status=status,
            sequence=sequence,
        )
    )


def not_found(order_id: int, sequence: int | None = None) -> Declined:
    return _unknown(order_id, f"There is no order {order_id}. GET /orders lists yours.", sequence)


def name_not_found(account: str, client_order_id: str) -> Declined:
    detail = f"The account {account} has no order with the client_order_id {client_order_id}."
    return Declined(Problem(code=RejectReason.UNKNOWN_ORDER.value, detail=detail, field="client_order_id"))


def not_listed(symbol: str) -> Declined:
    """The symbol of an address: what is not there is not found."""
    detail = f"No instrument {quoted(symbol)} is listed; GET /instruments lists them."
    return Declined(Problem(code=RejectReason.UNKNOWN_SYMBOL.value, detail=detail, field="symbol", status=404))


def not_resting(order_id: int, sequence: int) -> Declined:
    """Like `not_found`, when the history cannot be asked for what became of it."""
    return _unknown(
        order_id,
        f"Order {order_id} is not open. Whether it was filled or canceled before cannot be looked up now: ask "
        f"GET /orders/{order_id} later.",
        sequence,
    )


def result_unknown(command: ClientCommand) -> Declined:
    """The command was sent and no answer came: say how the client finds out."""
    return Declined(
        Problem(
            code="result_unknown",
            detail="The command was sent and no answer came in time: it may have been carried out, or not. "
            + _how_to_find_out(command),
        )
    )


def done_but_not_shown(order_id: int, sequence: int) -> Declined:
    """It is certain that it was carried out, and not to be had what the answer was."""
    return Declined(
        Problem(
            code="result_unknown",
            detail=f"It was done, as journal sequence {sequence}, but cannot be shown now: GET /orders/{order_id} "
            "later.",
            order_id=order_id,
            sequence=sequence,
        )
    )


def first_answer_unreadable(order_id: int, sequence: int) -> Declined:
    """It was placed before, and what was answered then cannot be told now."""
    return Declined(
        Problem(
            code="journal_unavailable",
            detail=f"It was done before, as journal sequence {sequence}: order {order_id}. Its first answer cannot be "
            "read now; send it again after Retry-After seconds.",
            order_id=order_id,
            sequence=sequence,
        )
    )


def _unknown(order_id: int, detail: str, sequence: int | None) -> Declined:
    code = RejectReason.UNKNOWN_ORDER.value
    return Declined(Problem(code=code, detail=detail, field="order_id", sequence=sequence))


def _detail(command: ClientCommand, refusal: Refusal, instrument: Instrument | None) -> str:
    meaning = CODES[refusal.reason.value].meaning
    if refusal.reason is RejectReason.DUPLICATE_CLIENT_ORDER_ID:
        return _duplicate(refusal)
    return f"{meaning} {_advice(refusal, instrument)}".strip()


def _duplicate(refusal: Refusal) -> str:
    if refusal.order_id is None:
        return "Two orders of the batch have it: give each its own."
    return f"Order {refusal.order_id} has it: see GET /orders/{refusal.order_id}, or use another."


def _advice(refusal: Refusal, instrument: Instrument | None) -> str:
    reason = refusal.reason
    if instrument is not None:
        match reason:
            case RejectReason.PRICE_OUT_OF_RANGE:
                return price_advice(instrument)
            case RejectReason.QUANTITY_OUT_OF_RANGE:
                return quantity_advice(instrument)
            case RejectReason.NOTIONAL_OUT_OF_RANGE:
                return notional_advice(instrument)
            case RejectReason.INSTRUMENT_RULES_FIXED:
                return f"Those of {instrument.symbol} are {instrument.tick_size} and {instrument.lot_size}."
            case RejectReason.PRICE_OUTSIDE_BAND:
                return _band_advice(refusal, instrument)
    if refusal.limit is not None:
        advice = f"The limit is {_limit(reason, refusal.limit, instrument)}."
        return f"{advice} {_ADVICE.get(reason, '')}".strip()
    if reason is RejectReason.INVALID_INSTRUMENT:
        return _INVALID_INSTRUMENT.get(refusal.field or "", "")
    return _ADVICE.get(reason, "")


def _band_advice(refusal: Refusal, instrument: Instrument) -> str:
    lowest, highest = _price(refusal.lowest, instrument), _price(refusal.highest, instrument)
    if highest is None:
        return f"Now prices of {instrument.symbol} go from {lowest} up."
    return f"Now prices of {instrument.symbol} go {f'from {lowest} ' if lowest else ''}up to {highest}."


def _price(ticks: int | None, instrument: Instrument | None) -> str | None:
    return None if ticks is None or instrument is None else instrument.tick.format(ticks)


def _limit(reason: RejectReason, limit: int, instrument: Instrument | None) -> str:
    if reason is RejectReason.MAX_OPEN_ORDERS or instrument is None:
        return str(limit)
    step = instrument.notional if reason is RejectReason.MAX_ORDER_NOTIONAL else instrument.lot
    return step.format(limit)


def _how_to_find_out(command: ClientCommand) -> str:
    match command:
        case PlaceOrder(account=account, client_order_id=str() as name):
            return (
                f"GET /orders?account={account}&client_order_id={name} tells; sending the same order again is safe, "
                "it is placed once only."
            )
        case PlaceOrder(account=account):
            return (
                f"GET /orders?account={account} lists the newest orders first. Send a client_order_id with each order: "
                "then sending it again is safe."
            )
        case CancelOrder(order_id=order_id) | AmendOrder(order_id=order_id):
            return f"GET /orders/{order_id} tells; sending the same again is safe."
        case AllOrNothing():
            return (
                "GET /orders lists the newest orders first. When every order in it has a client_order_id, sending the "
                "same batch again is safe."
            )
        case CancelOrders():
            return "GET /orders?status=open tells; sending the same again is safe."
        case CancelAllAfter() | SetAccountLimits() | SetKillSwitch():
            return f"GET /accounts/{command.account} tells; sending the same again is safe."
        case DefineInstrument() | SetInstrumentStatus():
            return "GET /instruments tells; sending the same again is safe."
