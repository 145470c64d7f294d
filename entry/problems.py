"""Every way in which the exchange says no: one table of codes, and the problem+json (RFC 9457) made from it.

`code` is a promise to programs, `detail` tells a person what to do next. The page /docs/errors and the OpenAPI document
are made from the same table.
"""

import json
from dataclasses import dataclass

import msgspec
from msgspec import Struct

from contracts.messages import OrderStatus, RejectReason

ERRORS_PAGE = "/docs/errors"
RETRY_AFTER_SECONDS = 1


@dataclass(frozen=True, slots=True)
class Code:
    """What a code stands for. `status` is the HTTP status it usually comes with."""

    status: int
    title: str
    meaning: str


CODES: dict[str, Code] = {
    # The request is not what the interface describes
    "malformed_json": Code(400, "Malformed JSON", "The body is not one JSON object in UTF-8."),
    "missing_field": Code(400, "Missing field", "A required field is absent or null."),
    "unknown_field": Code(400, "Unknown field", "The body has a field that this request does not know."),
    "duplicate_field": Code(400, "Duplicate field", "The body has the same field twice; which one counts is unclear."),
    "invalid_type": Code(400, "Wrong type", "The field has another JSON type than it must have."),
    "invalid_value": Code(400, "Invalid value", "The field is none of the values that it may have."),
    "not_a_decimal": Code(
        400,
        "Not a decimal number",
        'A price, quantity or size must be a decimal number, as in "100.10", 100.10 or 1e2.',
    ),
    "invalid_parameter": Code(400, "Invalid parameter", "A path, query or header parameter has an impossible value."),
    "unknown_parameter": Code(400, "Unknown parameter", "The query has a parameter that this address does not know."),
    "invalid_cursor": Code(400, "Invalid cursor", "The cursor is not one that this list gave out as next_cursor."),
    "bad_request": Code(400, "Bad request", "The HTTP request itself is not well formed."),
    "unauthorized": Code(401, "Unauthorized", "This needs an API key, and there is none, or not a valid one."),
    "signature_invalid": Code(
        401, "Signature invalid", "The Pricetime-Signature is not that of this request under this key."
    ),
    "timestamp_outside_window": Code(
        401, "Timestamp outside window", "The Pricetime-Timestamp is too far from the server's clock."
    ),
    "signature_repeated": Code(401, "Signature repeated", "Each Pricetime-Signature is good for one request."),
    "forbidden": Code(403, "Forbidden", "The API key does not allow this, or not for this account."),
    "origin_not_allowed": Code(403, "Origin not allowed", "A web page of another site may not do this here."),
    "host_not_allowed": Code(
        421, "Host not allowed", "The Host of the request is none of the names that this server was given."
    ),
    "not_found": Code(404, "Not found", "There is nothing at this address."),
    "method_not_allowed": Code(405, "Method not allowed", "The address is there, but not for this method; see Allow."),
    "body_too_large": Code(413, "Body too large", "The body is larger than this server reads."),
    "unsupported_media_type": Code(
        415, "Unsupported media type", "A body must be sent with Content-Type: application/json."
    ),
    # The exchange's rules refuse it: nothing was changed
    "off_tick": Code(422, "Price off tick", "The price is not a whole multiple of the instrument's tick_size."),
    "off_lot": Code(422, "Quantity off lot", "The quantity is not a whole multiple of the instrument's lot_size."),
    "off_notional": Code(422, "Notional off step", "The notional is not a whole multiple of tick_size times lot_size."),
    "idempotency_key_mismatch": Code(
        422, "Idempotency key mismatch", "The header Idempotency-Key and the body's client_order_id differ."
    ),
    RejectReason.UNKNOWN_SYMBOL.value: Code(422, "Unknown symbol", "No instrument with this symbol is listed."),
    RejectReason.INVALID_SYMBOL.value: Code(
        422, "Invalid symbol", "A symbol is 1 to 24 letters, digits, hyphens or underscores."
    ),
    RejectReason.INVALID_ACCOUNT.value: Code(
        422, "Invalid account", "An account is 1 to 64 letters, digits, hyphens or underscores."
    ),
    RejectReason.INVALID_CLIENT_ORDER_ID.value: Code(
        422, "Invalid client order id", "A client_order_id is 1 to 64 letters, digits, hyphens or underscores."
    ),
    RejectReason.PRICE_REQUIRED.value: Code(422, "Price required", "A limit or stop_limit order needs a price."),
    RejectReason.PRICE_NOT_ALLOWED.value: Code(422, "Price not allowed", "A market or stop order takes no price."),
    RejectReason.PRICE_OUT_OF_RANGE.value: Code(
        422, "Price out of range", "The price is below one tick or above the highest price of the exchange."
    ),
    RejectReason.QUANTITY_OUT_OF_RANGE.value: Code(
        422, "Quantity out of range", "The quantity is outside the instrument's min_quantity and max_quantity."
    ),
    RejectReason.STOP_PRICE_REQUIRED.value: Code(
        422, "Stop price required", "A stop or stop_limit order needs a stop_price."
    ),
    RejectReason.STOP_PRICE_NOT_ALLOWED.value: Code(
        422, "Stop price not allowed", "Only a stop or stop_limit order that waits for its trigger has a stop_price."
    ),
    RejectReason.DISPLAY_QUANTITY_NOT_ALLOWED.value: Code(
        422,
        "Display quantity not allowed",
        "Only a limit or stop_limit order that may rest (GTC, GTD, DAY) can be an iceberg.",
    ),
    RejectReason.DISPLAY_QUANTITY_OUT_OF_RANGE.value: Code(
        422,
        "Display quantity out of range",
        "The display_quantity is below the instrument's min_quantity or above the order's quantity.",
    ),
    RejectReason.PROTECTION_PRICE_NOT_ALLOWED.value: Code(
        422, "Protection price not allowed", "Only a market or stop order takes a protection_price."
    ),
    RejectReason.NOTIONAL_NOT_ALLOWED.value: Code(
        422, "Notional not allowed", "Only a market order can be placed by notional, and then without a quantity."
    ),
    RejectReason.NOTIONAL_OUT_OF_RANGE.value: Code(
        422, "Notional out of range", "The notional is below one step or above the most that the exchange takes."
    ),
    RejectReason.NOTIONAL_TOO_SMALL.value: Code(
        422, "Notional too small", "The notional does not pay for one lot at the best price."
    ),
    RejectReason.NO_LIQUIDITY.value: Code(
        422, "No liquidity", "Nobody is there to trade with, so an order by notional has no quantity."
    ),
    RejectReason.TIME_IN_FORCE_NOT_ALLOWED.value: Code(
        422, "Time in force not allowed", "A market order cannot wait (GTD, DAY), and one by notional cannot be FOK."
    ),
    RejectReason.EXPIRY_REQUIRED.value: Code(
        422, "Expiry required", "An order with time_in_force GTD needs expires_at."
    ),
    RejectReason.EXPIRY_NOT_ALLOWED.value: Code(
        422, "Expiry not allowed", "Only an order with time_in_force GTD takes expires_at."
    ),
    RejectReason.EXPIRY_IN_THE_PAST.value: Code(422, "Expiry in the past", "expires_at has passed already."),
    RejectReason.POST_ONLY_NOT_ALLOWED.value: Code(
        422, "Post-only not allowed", "Only a limit order that may rest (GTC, GTD, DAY) can be post_only."
    ),
    RejectReason.POST_ONLY_WOULD_TRADE.value: Code(
        422, "Post-only would trade", "The post_only order would trade at once at this price."
    ),
    RejectReason.INSTRUMENT_HALTED.value: Code(
        422, "Instrument halted", "The instrument is halted: no order is placed, amended or canceled."
    ),
    RejectReason.INSTRUMENT_CANCEL_ONLY.value: Code(
        422, "Instrument cancel-only", "In this instrument orders can only be canceled now."
    ),
    RejectReason.INSTRUMENT_POST_ONLY.value: Code(
        422, "Instrument post-only", "In this instrument orders may rest but not trade now."
    ),
    RejectReason.INSTRUMENT_DELISTED.value: Code(422, "Instrument delisted", "The instrument is delisted, for good."),
    RejectReason.PRICE_OUTSIDE_BAND.value: Code(
        422, "Price outside band", "The price is outside the instrument's price band: lowest_price to highest_price."
    ),
    RejectReason.MAX_OPEN_ORDERS.value: Code(
        422, "Too many open orders", "The account has as many open orders as it may: limit."
    ),
    RejectReason.MAX_ORDER_QUANTITY.value: Code(
        422, "Order quantity above limit", "The quantity is above what one order of the account may have: limit."
    ),
    RejectReason.MAX_ORDER_NOTIONAL.value: Code(
        422,
        "Order notional above limit",
        "Price times quantity is above what one order of the account may be worth: limit.",
    ),
    RejectReason.MAX_POSITION.value: Code(
        422, "Position limit", "With this order filled, the position of the account could go beyond limit."
    ),
    RejectReason.KILL_SWITCH_ENGAGED.value: Code(
        422, "Kill switch engaged", "The kill switch of the account is engaged: it may cancel only."
    ),
    RejectReason.TOO_MANY_ORDERS.value: Code(
        422, "Too many orders", "The exchange holds as many open orders as it can."
    ),
    RejectReason.NOTHING_TO_AMEND.value: Code(
        422, "Nothing to amend", "None of price, quantity and stop_price was given."
    ),
    RejectReason.INSTRUMENT_RULES_FIXED.value: Code(
        422, "Instrument rules fixed", "tick_size and lot_size of a listed instrument never change."
    ),
    RejectReason.INVALID_INSTRUMENT.value: Code(
        422, "Invalid instrument", "The sizes, limits or price band of the instrument are not possible."
    ),
    RejectReason.INVALID_LIMITS.value: Code(
        422, "Invalid limits", "A limit is out of range, or a symbol is there twice."
    ),
    RejectReason.INVALID_DELAY.value: Code(
        422, "Invalid delay", "The delay of a dead-man's switch is negative or longer than a day."
    ),
    RejectReason.INVALID_BATCH.value: Code(422, "Invalid batch", "A batch has no item, or more than it may have."),
    RejectReason.SAME_ORDER_TWICE.value: Code(
        422, "Same order twice", "Two items of an all-or-nothing batch are about the same order."
    ),
    RejectReason.AMENDMENT_WOULD_TRADE.value: Code(
        422,
        "Amendment would trade",
        "In an all-or-nothing batch an amendment must not trade, nor trigger a stop order.",
    ),
    RejectReason.UNKNOWN_ORDER.value: Code(404, "Unknown order", "There is no order with this id."),
    RejectReason.DUPLICATE_CLIENT_ORDER_ID.value: Code(
        409,
        "Duplicate client order id",
        "This account has used the client_order_id before, for another order; order_id is that order.",
    ),
    "unknown_sequence": Code(
        422, "Unknown sequence", "The Journal-Sequence asked for is beyond the end of the journal."
    ),
    "order_not_resting": Code(
        409, "Order not resting", "The order is filled, canceled or expired already; order_status says which."
    ),
    "rate_limited": Code(
        429, "Rate limited", "The key has made more requests than it may; see Retry-After. Nothing was done."
    ),
    "unknown_command": Code(404, "Unknown command", "There is no deferred command with this id, or not any more."),
    "idempotency_key_reused": Code(
        409, "Idempotency key reused", "The key names another deferred command, one that asks for something else."
    ),
    "command_expired": Code(
        422, "Command expired", "The deferred command could not be carried out in the time that it may wait."
    ),
    # Ours, and the world's
    "internal_error": Code(500, "Internal error", "The gateway met a condition that it was not made for."),
    "overloaded": Code(503, "Overloaded", "As many requests are at work or waiting as may be. Nothing was done."),
    "too_many_connections": Code(503, "Too many connections", "The server has as many connections as it may have."),
    "matcher_unavailable": Code(503, "Matcher unavailable", "No matcher takes commands now. Nothing was done."),
    "too_many_deferred": Code(503, "Too many deferred", "As many deferred commands wait as may. Nothing was stored."),
    "commands_unavailable": Code(
        503, "Commands unavailable", "The broker that keeps deferred commands cannot be asked now. Nothing was stored."
    ),
    "journal_unavailable": Code(
        503, "Journal unavailable", "The journal cannot be read now, so what was answered before cannot be told."
    ),
    "history_unavailable": Code(
        503, "History unavailable", "Postgres cannot be asked now. Placing and canceling orders goes on."
    ),
    "market_data_unavailable": Code(503, "Market data unavailable", "The broadcaster does not answer now."),
    "reads_behind": Code(
        503, "Reads behind", "What can be read has not caught up with what you were told; it would show you the past."
    ),
    "result_unknown": Code(
        504, "Result unknown", "The command was sent and no answer came: it may have been carried out, or not."
    ),
}


class Problem(Struct, frozen=True, kw_only=True):
    """One refusal as a value. `status` overrides the code's usual one."""

    code: str
    detail: str
    field: str | None = None
    status: int | None = None
    order_id: int | None = None
    order_status: OrderStatus | None = None
    sequence: int | None = None
    """The journal sequence that a refused command was judged by."""
    item: int | None = None
    """Which item of an all-or-nothing batch it is about, from 0."""
    lowest_price: str | None = None
    highest_price: str | None = None
    limit: str | None = None
    retry_after: int | None = None
    """In how many seconds to come again, when that is known better than RETRY_AFTER_SECONDS."""

    @property
    def http_status(self) -> int:
        return self.status or CODES[self.code].status

    @property
    def content(self) -> bytes:
        return _encoder.encode(view(self))


class ProblemView(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """application/problem+json. Fields that do not apply are absent."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    field: str | None = None
    order_id: int | None = None
    order_status: OrderStatus | None = None
    sequence: int | None = None
    item: int | None = None
    lowest_price: str | None = None
    highest_price: str | None = None
    limit: str | None = None
    retry_after: int | None = None


class Declined(Exception):
    """Raised with the problem to answer; caught where requests come in."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.detail)
        self.problem = problem


_encoder = msgspec.json.Encoder()


def view(problem: Problem) -> ProblemView:
    return ProblemView(
        type=f"{ERRORS_PAGE}#{problem.code}",
        title=CODES[problem.code].title,
        status=problem.http_status,
        detail=problem.detail,
        code=problem.code,
        field=problem.field,
        order_id=problem.order_id,
        order_status=problem.order_status,
        sequence=problem.sequence,
        item=problem.item,
        lowest_price=problem.lowest_price,
        highest_price=problem.highest_price,
        limit=problem.limit,
        retry_after=problem.retry_after,
    )


def declined(code: str, detail: str, field: str | None = None) -> Declined:
    return Declined(Problem(code=code, detail=detail, field=field))


def quoted(text: str) -> str:
    """The client's own text in a detail: short, and plain ASCII whatever it was."""
    return json.dumps(text if len(text) <= 40 else text[:40] + "...")
