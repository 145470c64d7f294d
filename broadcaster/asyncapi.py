"""The AsyncAPI document of the WebSocket port and of what NATS carries for everybody.

Messages of the server are derived from the structs that they are encoded from; requests are written out, as they are
read field by field. tests/broadcaster/test_asyncapi.py holds docs/asyncapi.json against this, and every frame of the
other tests against it. To write the file anew: `python -m broadcaster.asyncapi > docs/asyncapi.json`.
"""

import json
from collections.abc import Sequence
from importlib import metadata
from typing import Any

import msgspec

from broadcaster import messages, protocol
from broadcaster.session import MAX_IN_FLIGHT
from contracts.candles import INTERVALS
from contracts.messages import (
    MAX_COMMANDS,
    NAME_PATTERN,
    SYMBOL_PATTERN,
    InstrumentStatus,
    SelfTradePrevention,
    TimeInForce,
)
from contracts.subjects import (
    ORDERS_AMEND,
    ORDERS_BATCH,
    ORDERS_CANCEL,
    ORDERS_CANCEL_ALL,
    ORDERS_PLACE,
    account_orders,
    account_request,
    market_book,
    market_candles,
    market_status,
    market_ticker,
    market_trades,
)
from contracts.views import CandleView, DepthView, InstrumentView, MarketView, OrderView, TradeView
from entry.batches import ITEM_FIELDS
from entry.commands import AMEND_FIELDS, CANCEL_ALL_FIELDS, PLACE_FIELDS
from entry.problems import CODES, ProblemView
from entry.stream_codes import STREAM_CODES
from entry.views import BatchView, CanceledView

Json = dict[str, Any]

ANSWERS = (
    messages.Subscribed,
    messages.Unsubscribed,
    messages.Subscriptions,
    messages.Pong,
    messages.Authenticated,
    messages.CancelOnDisconnect,
    messages.OrderAnswer,
    messages.BatchAnswer,
    messages.CanceledAll,
    messages.CanceledAllAfter,
    messages.ErrorMessage,
)
DATA = (
    messages.TradeMessage,
    messages.BookSnapshot,
    messages.BookChange,
    messages.TickerMessage,
    messages.CandleMessage,
    messages.StatusMessage,
    messages.OrdersSnapshot,
    messages.OrderUpdate,
    messages.Heartbeat,
    messages.GoingAway,
)


class LastWords(msgspec.Struct, frozen=True, kw_only=True):
    """The last message at /ws/trades and /ws/orderbook to a client that must go."""

    type: str
    code: str
    detail: str


_VIEWS = (
    TradeView,
    DepthView,
    MarketView,
    CandleView,
    InstrumentView,
    OrderView,
    BatchView,
    CanceledView,
    ProblemView,
    LastWords,
)
_MAY_BE_LEFT_OUT = {"ProblemView", "Subscription", "BatchItemView"}

_DECIMAL: Json = {
    "description": 'A decimal number, as a string ("100.10") or a number; no float is made of it.',
    "type": ["string", "number"],
}
_FIELDS: dict[str, Json] = {
    "symbol": {"type": "string", "pattern": SYMBOL_PATTERN},
    "account": {"type": "string", "pattern": NAME_PATTERN},
    "client_order_id": {"type": "string", "pattern": NAME_PATTERN},
    "side": {"enum": ["buy", "sell", "1", "-1", 1, -1]},
    "type": {"enum": ["limit", "market", "stop", "stop_limit"]},
    "time_in_force": {"enum": [each.value for each in TimeInForce]},
    "self_trade_prevention": {"enum": [each.value for each in SelfTradePrevention]},
    "post_only": {"type": "boolean"},
    "expires_at": {"type": "string", "description": "ISO 8601 with a zone."},
    "order_id": {"type": "integer", "minimum": 1},
    "after": {"type": "integer", "minimum": 0},
    "after_index": {"type": "integer", "minimum": 0},
    "levels": {"type": "integer", "minimum": 1, "maximum": protocol.MAX_LEVELS},
    "interval": {"enum": list(INTERVALS)},
    "subscription": {"type": "integer", "minimum": 1},
    "enabled": {"type": "boolean", "default": True},
    "all_or_nothing": {"type": "boolean", "default": False},
    "key": {"type": "string"},
    "key_id": {"type": "string"},
    "timestamp": {"type": "string", "description": "Milliseconds since 1970-01-01 UTC."},
    "signature": {"type": "string", "description": "Hexadecimal HMAC-SHA256; docs/access.md says of what."},
}


def document(version: str) -> Json:
    schemas = _schemas()
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Pricetime streams",
            "version": version,
            "description": "WebSocket and NATS of the Pricetime exchange. docs/streams.md explains all of it.",
        },
        "defaultContentType": "application/json",
        "servers": {
            "websocket": {"host": "localhost:8001", "protocol": "ws"},
            "nats": {"host": "localhost:4222", "protocol": "nats"},
        },
        "channels": _channels(),
        "operations": _operations(),
        "components": {"schemas": schemas, "messages": _messages()},
    }


# Schemas


def _schemas() -> Json:
    _, derived = msgspec.json.schema_components([*ANSWERS, *DATA, *_VIEWS], ref_template="#/components/schemas/{name}")
    for name, schema in derived.items():
        if "properties" in schema and name not in _MAY_BE_LEFT_OUT:
            schema["required"] = [each for each in schema["properties"] if not _is_optional(name, each)]
        if "properties" in schema:
            schema["additionalProperties"] = False
    derived["ErrorCode"] = {"type": "string", "enum": sorted({*CODES, *STREAM_CODES})}
    derived["ProblemView"]["properties"]["code"] = {"$ref": "#/components/schemas/ErrorCode"}
    derived["RequestId"] = {"type": ["integer", "string"], "description": "Comes back with the answer."}
    return {**derived, **_request_schemas()}


def _is_optional(schema: str, name: str) -> bool:
    """Fields that a struct may leave out are the ones whose default is UNSET."""
    kinds = {kind.__name__: kind for kind in (*ANSWERS, *DATA, *_VIEWS)}
    if schema not in kinds:
        return False
    return any(
        field.encode_name == name and field.default is msgspec.UNSET for field in msgspec.structs.fields(kinds[schema])
    )


def _request_schemas() -> Json:
    return {
        "SubscribeRequest": {
            "oneOf": [_subscription("subscribe", channel, fields) for channel, fields in protocol.CHANNELS.items()]
        },
        "UnsubscribeRequest": {
            "oneOf": [
                _request("unsubscribe", ("subscription",), required=("subscription",)),
                *(_subscription("unsubscribe", channel, fields) for channel, fields in protocol.CHANNELS.items()),
            ]
        },
        "ListRequest": _request("list"),
        "PingRequest": _request("ping"),
        "AuthRequest": {
            "oneOf": [
                _request("auth", ("key",), required=("key",)),
                _request("auth", fields := ("key_id", "timestamp", "signature"), required=fields),
            ]
        },
        "CancelOnDisconnectRequest": _request("cancel_on_disconnect", ("enabled",)),
        "PlaceRequest": _request("place", PLACE_FIELDS, required=("side",)),
        "AmendRequest": _request("amend", ("order_id", "client_order_id", "account", *AMEND_FIELDS)),
        "CancelRequest": _request("cancel", ("order_id", "client_order_id", "account")),
        "CancelAllRequest": _request("cancel_all", CANCEL_ALL_FIELDS),
        "CancelAllAfterRequest": _request("cancel_all_after", ("account", "seconds"), required=("seconds",)),
        "BatchRequest": _batch_request(),
        "PlaceOrder": _object(PLACE_FIELDS, ("side",)),
        "CancelOrder": _object(("order_id",), ("order_id",)),
        "AmendOrder": _object(("order_id", *AMEND_FIELDS), ("order_id",)),
        "CancelOrders": _object(CANCEL_ALL_FIELDS),
        "Batch": _batch(),
    }


def _subscription(op: str, channel: str, fields: tuple[str, ...]) -> Json:
    needed = [name for name in ("symbol", "interval") if name in fields and channel in ("book", "candles")]
    schema = _request(op, fields, required=needed)
    schema["properties"]["channel"] = {"const": channel}
    schema["required"].append("channel")
    return schema


def _request(op: str, fields: tuple[str, ...] = (), required: Sequence[str] = ()) -> Json:
    schema = _object(fields, required)
    envelope: Json = {"id": {"$ref": "#/components/schemas/RequestId"}, "op": {"const": op}}
    return schema | {"properties": envelope | schema["properties"], "required": ["op", *required]}


def _object(fields: tuple[str, ...], required: Sequence[str] = ()) -> Json:
    return {
        "type": "object",
        "properties": {name: _or_null(_FIELDS.get(name, _DECIMAL), name in required) for name in fields},
        "required": list(required),
        "additionalProperties": False,
    }


def _or_null(schema: Json, is_required: bool) -> Json:
    return schema if is_required else {"oneOf": [schema, {"type": "null"}]}


def _batch() -> Json:
    names = {"place": "PlaceOrder", "cancel": "CancelOrder", "amend": "AmendOrder"}
    assert names.keys() == ITEM_FIELDS.keys()
    items = [
        {
            "type": "object",
            "properties": {action: {"$ref": f"#/components/schemas/{name}"}},
            "required": [action],
            "additionalProperties": False,
        }
        for action, name in names.items()
    ]
    schema = _object(("all_or_nothing",), ())
    schema["properties"]["items"] = {
        "type": "array",
        "items": {"oneOf": items},
        "minItems": 1,
        "maxItems": MAX_COMMANDS,
    }
    return schema | {"required": ["items"]}


def _batch_request() -> Json:
    schema, envelope = _batch(), _request("batch")
    return schema | {"properties": envelope["properties"] | schema["properties"], "required": ["op", "items"]}


# Messages


def _messages() -> Json:
    schemas = [*(kind.__name__ for kind in (*ANSWERS, *DATA, *_VIEWS)), *_request_schemas()]
    return {name: {"name": name, "payload": {"$ref": f"#/components/schemas/{name}"}} for name in schemas}


REQUESTS = tuple(name for name in _request_schemas() if name.endswith("Request"))

# Channels and operations


def _channel(address: str, server: str, description: str, *names: str, **parameters: Json) -> Json:
    channel: Json = {
        "address": address,
        "servers": [{"$ref": f"#/servers/{server}"}],
        "description": description,
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in names},
    }
    return channel | ({"parameters": parameters} if parameters else {})


_SYMBOL: Json = {"description": "The instrument's symbol."}
_ACCOUNT: Json = {"description": "The account."}
_INTERVAL: Json = {"description": "The candle's interval.", "enum": list(INTERVALS)}

_NATS_REQUESTS: dict[str, tuple[str, str, str, str]] = {
    "place": (ORDERS_PLACE, "PlaceOrder", "OrderView", "Places an order, as POST /orders does."),
    "cancel": (ORDERS_CANCEL, "CancelOrder", "OrderView", "Cancels an order."),
    "amend": (ORDERS_AMEND, "AmendOrder", "OrderView", "Changes an order."),
    "cancel_all": (ORDERS_CANCEL_ALL, "CancelOrders", "CanceledView", "Cancels every order that fits."),
    "batch": (ORDERS_BATCH, "Batch", "BatchView", "Several commands at once."),
}
"""Channel, request, answer, description."""


def _channels() -> Json:
    session = (
        "Requests, their answers, and what was subscribed to, all as text frames of one JSON object. At most "
        f"{MAX_IN_FLIGHT} order requests of a connection may be on their way."
    )
    return {
        "session": _channel("/ws", "websocket", session, *REQUESTS, *(kind.__name__ for kind in (*ANSWERS, *DATA))),
        "trades": _channel("/ws/trades", "websocket", "Every trade as it happens.", "TradeView", "LastWords"),
        "orderbook": _channel("/ws/orderbook", "websocket", "A book, each second.", "DepthView", "LastWords"),
        "market.trades": _nats(market_trades("{symbol}"), "Every trade.", "TradeView", symbol=_SYMBOL),
        "market.book": _nats(market_book("{symbol}"), "Its five best levels.", "DepthView", symbol=_SYMBOL),
        "market.ticker": _nats(market_ticker("{symbol}"), "When it changes.", "MarketView", symbol=_SYMBOL),
        "market.candles": _nats(
            market_candles("{symbol}", "{interval}"),
            "The candle being formed, at most once a second, and once when it is complete.",
            "CandleView",
            symbol=_SYMBOL,
            interval=_INTERVAL,
        ),
        "market.status": _nats(
            market_status("{symbol}"),
            f"The instrument when it changes: {', '.join(each.value for each in InstrumentStatus)}.",
            "InstrumentView",
            symbol=_SYMBOL,
        ),
        "account.orders": _nats(
            account_orders("{account}"), "Every change of the account's orders.", "OrderUpdate", account=_ACCOUNT
        ),
        **{
            f"orders.{name}": _nats(subject, description, request, answer, "ProblemView")
            for name, (subject, request, answer, description) in _NATS_REQUESTS.items()
        },
        **{
            f"account.orders.{name}": _nats(
                account_request("{account}", name),
                f"{description} Of this account only.",
                request,
                answer,
                "ProblemView",
                account=_ACCOUNT,
            )
            for name, (_, request, answer, description) in _NATS_REQUESTS.items()
        },
    }


def _nats(address: str, description: str, *names: str, **parameters: Json) -> Json:
    return _channel(address, "nats", description, *names, **parameters)


def _operations() -> Json:
    channels = _channels()
    sent = {
        f"send.{name}": _operation("send", name, channels[name]["messages"])
        for name in channels
        if ".orders." not in f".{name}" and name != "session"
    }
    asked = {
        f"answer.{name}": _operation("receive", name, list(channels[name]["messages"])[:1])
        | {"reply": {"messages": _references(name, list(channels[name]["messages"])[1:])}}
        for name in channels
        if ".orders." in f".{name}"
    }
    return {
        "receive.session": _operation("receive", "session", REQUESTS),
        "send.session": _operation("send", "session", [kind.__name__ for kind in (*ANSWERS, *DATA)]),
        **sent,
        **asked,
    }


def _operation(action: str, channel: str, names: Any) -> Json:
    return {
        "action": action,
        "channel": {"$ref": f"#/channels/{channel}"},
        "messages": _references(channel, names),
    }


def _references(channel: str, names: Any) -> list[Json]:
    return [{"$ref": f"#/channels/{channel}/messages/{name}"} for name in names]


if __name__ == "__main__":
    print(json.dumps(document(metadata.version("pricetime")), indent=2))
