"""Every way in which the gateway says no: one table of codes, and the problem+json (RFC 9457) made from it.

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
    "forbidden": Code(403, "Forbidden", "The API key does not allow this, or not for this account."),
    "not_found": Code(404, "Not found", "There is nothing at this address."),
    "method_not_allowed": Code(405, "Method not allowed", "The address is there, but not for this method; see Allow."),
    "body_too_large": Code(413, "Body too large", "The body is larger than this server reads."),
    "unsupported_media_type": Code(
        415, "Unsupported media type", "A body must be sent with Content-Type: application/json."
    ),
    # The exchange's rules refuse it: nothing was changed
    "off_tick": Code(422, "Price off tick", "The price is not a whole multiple of the instrument's tick_size."),
    "off_lot": Code(422, "Quantity off lot", "The quantity is not a whole multiple of the instrument's lot_size."),
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
    RejectReason.PRICE_REQUIRED.value: Code(422, "Price required", "A limit order needs a price."),
    RejectReason.PRICE_NOT_ALLOWED.value: Code(422, "Price not allowed", "A market order takes no price."),
    RejectReason.PRICE_OUT_OF_RANGE.value: Code(
        422, "Price out of range", "The price is below one tick or above the highest price of the exchange."
    ),
    RejectReason.QUANTITY_OUT_OF_RANGE.value: Code(
        422, "Quantity out of range", "The quantity is outside the instrument's min_quantity and max_quantity."
    ),
    RejectReason.POST_ONLY_NOT_ALLOWED.value: Code(
        422, "Post-only not allowed", "Only a limit order that may rest (GTC) can be post_only."
    ),
    RejectReason.POST_ONLY_WOULD_TRADE.value: Code(
        422, "Post-only would trade", "The post_only order would trade at once at this price."
    ),
    RejectReason.TOO_MANY_ORDERS.value: Code(
        422, "Too many orders", "The exchange holds as many resting orders as it can."
    ),
    RejectReason.NOTHING_TO_AMEND.value: Code(422, "Nothing to amend", "Neither price nor quantity was given."),
    RejectReason.INSTRUMENT_RULES_FIXED.value: Code(
        422, "Instrument rules fixed", "tick_size and lot_size of a listed instrument never change."
    ),
    RejectReason.INVALID_INSTRUMENT.value: Code(
        422, "Invalid instrument", "The sizes or limits of the instrument are not possible."
    ),
    "unknown_sequence": Code(
        422, "Unknown sequence", "The Journal-Sequence asked for is beyond the end of the journal."
    ),
    RejectReason.UNKNOWN_ORDER.value: Code(404, "Unknown order", "There is no order with this id."),
    RejectReason.DUPLICATE_CLIENT_ORDER_ID.value: Code(
        409, "Duplicate client order id", "This account has used the client_order_id before; order_id is that order."
    ),
    "order_not_resting": Code(
        409, "Order not resting", "The order is filled or canceled already; order_status says which."
    ),
    # Ours, and the world's
    "internal_error": Code(500, "Internal error", "The gateway met a condition that it was not made for."),
    "overloaded": Code(503, "Overloaded", "More requests are waiting than may wait. Nothing was done."),
    "matcher_unavailable": Code(503, "Matcher unavailable", "No matcher takes commands now. Nothing was done."),
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
    )


def declined(code: str, detail: str, field: str | None = None) -> Declined:
    return Declined(Problem(code=code, detail=detail, field=field))


def quoted(text: str) -> str:
    """The client's own text in a detail: short, and plain ASCII whatever it was."""
    return json.dumps(text if len(text) <= 40 else text[:40] + "...")
