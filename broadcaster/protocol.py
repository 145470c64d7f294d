"""What a client of /ws may ask: from a message's JSON to a request, and what it wants to subscribe to. Pure.

Whatever has the wrong shape is declined here, with the words that REST has for it.
"""

import re
from typing import Any

import msgspec
from msgspec import UNSET, Raw, Struct

from broadcaster.messages import RequestId
from contracts.candles import INTERVALS
from entry.admission import BYTES_OF_ONE
from entry.bodies import Fields, Number, missing, read_object, text, wrong_type
from entry.plain_orders import NOTHING, PlainOrder, is_whole_truth, of_raw, quotation_marks
from entry.problems import Declined, declined, quoted
from entry.stream_codes import StreamDeclined

MAX_LEVELS = 1_000
MAX_SEQUENCE = 2**63 - 1
ENVELOPE = ("id", "op")

ORDER_OPERATIONS = ("place", "amend", "cancel", "cancel_all", "batch", "cancel_all_after")
OPERATIONS = ("subscribe", "unsubscribe", "list", *ORDER_OPERATIONS, "cancel_on_disconnect", "auth", "ping")
CHANNELS: dict[str, tuple[str, ...]] = {
    "trades": ("symbol", "after"),
    "book": ("symbol", "levels"),
    "ticker": ("symbol",),
    "candles": ("symbol", "interval"),
    "orders": ("account", "after", "after_index"),
    "status": ("symbol",),
}
"""Each channel, and what can be said when subscribing to it."""
_NEED_SYMBOL = ("book", "candles")

_whole = re.compile(r"-?[0-9]{1,19}").fullmatch


class Request(Struct, frozen=True):
    """One message of a client. `body`: all of it but the envelope, what REST would have as the body."""

    op: str
    body: dict[str, Any]
    size: int
    """Of the message, in bytes."""
    id: RequestId = UNSET

    @property
    def fields(self) -> Fields:
        return {name: value for name, value in self.body.items() if value is not None}

    def without(self, *names: str) -> dict[str, Any]:
        """The body without these fields."""
        return {name: value for name, value in self.body.items() if name not in names}

    def check_fields(self, *known: str) -> None:
        for name in self.fields:
            if name not in known:
                allowed = ", ".join((*ENVELOPE, *known))
                raise declined("unknown_field", f"{self.op} has no field {quoted(name)}. Known: {allowed}.", name)


class Unreadable(Exception):
    """The message is no request; `id` is that of the message, as far as it has one."""

    def __init__(self, problem: Declined | StreamDeclined, id: RequestId = UNSET) -> None:
        super().__init__(str(problem))
        self.problem = problem
        self.id = id


def read_request(message: bytes) -> Request:
    """Raises Unreadable."""
    try:
        body = read_object(message)
        request_id = _request_id(body.pop("id", None))
    except Declined as error:
        raise Unreadable(error) from None
    try:
        op = _operation(body)
    except (Declined, StreamDeclined) as error:
        raise Unreadable(error, request_id) from None
    return Request(op, body, len(message), request_id)


class PlainPlace(PlainOrder, tag_field="op", tag="place"):
    id: Raw = NOTHING


class PlainCancel(Struct, forbid_unknown_fields=True, tag_field="op", tag="cancel"):
    order_id: int
    id: Raw = NOTHING


PlainRequest = PlainPlace | PlainCancel
"""What programs send most, decoded straight into structs. `id` as it was written."""

_decode_plain = msgspec.json.Decoder(PlainRequest).decode
_OP = 4
_ORDER_ID = 2
"""Quotation marks of these fields."""


def read_plain(message: bytes) -> PlainRequest | None:
    """The request; None if there is anything unusual about it, which `read_request` is to judge."""
    if len(message) >= BYTES_OF_ONE:
        return None
    try:
        request = _decode_plain(message)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    marks = _OP
    if request.id is not NOTHING:
        if not _is_plain_id(bytes(request.id)):
            return None
        marks += of_raw(request.id)
    if type(request) is PlainPlace:
        marks += quotation_marks(request)
    elif 1 <= request.order_id <= MAX_SEQUENCE:
        marks += _ORDER_ID
    else:
        return None
    return request if is_whole_truth(message, marks) else None


def request_id_of(written: bytes) -> RequestId:
    """From what a plain request has for an id."""
    found: RequestId = msgspec.json.decode(written, type=int | str) if written else UNSET
    return found


def _is_plain_id(written: bytes) -> bool:
    """Whether an answer may repeat it as it is."""
    if written.isdigit():
        return len(written) <= 18
    return written[:1] == b'"' and len(written) <= 66 and written.isascii() and written.decode().isprintable()


def _request_id(value: object) -> RequestId:
    if value is None:
        return UNSET
    if type(value) is Number and _whole(value):
        return int(value)
    if type(value) is str and len(value) <= 64:
        return value
    raise declined("invalid_value", "id must be a whole number or a string of at most 64 characters.", "id")


def _operation(body: dict[str, Any]) -> str:
    op = text(body, "op")
    if op is None:
        raise missing("op", f"one of {', '.join(OPERATIONS)}")
    if op not in OPERATIONS:
        raise StreamDeclined(
            "unknown_operation", f"There is no operation {quoted(op)}. Known: {', '.join(OPERATIONS)}.", "op"
        )
    del body["op"]
    return op


class Wanted(Struct, frozen=True):
    """What a client wants to subscribe to, or no longer. The first five fields tell two subscriptions apart."""

    channel: str
    symbol: str | None = None
    interval: str | None = None
    levels: int | None = None
    account: str | None = None
    after: int | None = None
    after_index: int | None = None

    @property
    def key(self) -> tuple[str, str | None, str | None, int | None, str | None]:
        return self.channel, self.symbol, self.interval, self.levels, self.account


def wanted(request: Request) -> Wanted:
    """Raises Declined or StreamDeclined."""
    fields = request.fields
    channel = _channel(fields)
    request.check_fields("channel", *CHANNELS[channel])
    symbol = text(fields, "symbol")
    if symbol is None and channel in _NEED_SYMBOL:
        raise missing("symbol", f"the instrument whose {channel} you want")
    after = _number(fields, "after", 0, MAX_SEQUENCE)
    after_index = _number(fields, "after_index", 0, MAX_SEQUENCE)
    if after_index is not None and after is None:
        raise missing("after", "the sequence that after_index belongs to")
    return Wanted(
        channel=channel,
        symbol=symbol,
        interval=_interval(fields) if channel == "candles" else None,
        levels=_number(fields, "levels", 1, MAX_LEVELS),
        account=text(fields, "account"),
        after=after,
        after_index=after_index,
    )


def unwanted(request: Request) -> Wanted | int:
    """What to unsubscribe from, or the number of the subscription."""
    if "subscription" in request.fields:
        request.check_fields("subscription")
        number = _number(request.fields, "subscription", 1, MAX_SEQUENCE)
        assert number is not None
        return number
    return wanted(request)


def enabled(request: Request) -> bool:
    request.check_fields("enabled")
    value = request.fields.get("enabled", True)
    if type(value) is bool:
        return value
    raise wrong_type("enabled", value, "true or false")


def _channel(fields: Fields) -> str:
    channel = text(fields, "channel")
    if channel is None:
        raise missing("channel", f"one of {', '.join(CHANNELS)}")
    if channel not in CHANNELS:
        raise StreamDeclined(
            "unknown_channel", f"There is no channel {quoted(channel)}. Known: {', '.join(CHANNELS)}.", "channel"
        )
    return channel


def _interval(fields: Fields) -> str:
    interval = text(fields, "interval")
    if interval is None:
        raise missing("interval", f"one of {', '.join(INTERVALS)}")
    if interval not in INTERVALS:
        raise declined(
            "invalid_value", f"interval must be one of {', '.join(INTERVALS)}, not {quoted(interval)}.", "interval"
        )
    return interval


def _number(fields: Fields, name: str, least: int, most: int) -> int | None:
    value = fields.get(name)
    if value is None:
        return None
    if not isinstance(value, str):
        raise wrong_type(name, value, "a whole number")
    if _whole(value) and least <= int(value) <= most:
        return int(value)
    raise declined("invalid_value", f"{name} must be a whole number from {least} to {most}.", name)
