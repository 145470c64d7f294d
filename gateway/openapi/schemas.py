"""The JSON of the REST interface as JSON Schema: bodies, answers, parameters, headers, examples.

Answers come from the structs that they are encoded from, made exact; bodies are written out, because the parser takes
more than one form of a value.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from contracts.candles import INTERVALS
from contracts.messages import (
    MAX_BAND_BASIS_POINTS,
    MAX_COMMANDS,
    MAX_DELAY,
    MAX_PRICE,
    MAX_RESTING_ORDERS,
    NAME_PATTERN,
    SYMBOL_PATTERN,
    OrderStatus,
)
from contracts.views import CandleView, DepthView, InstrumentView, MarketView, OrderView, TradeView
from entry.administration import INSTRUMENT_STATUSES
from entry.commands import SELF_TRADE_PREVENTIONS, TIMES_IN_FORCE, TYPES
from entry.problems import ProblemView
from entry.views import AccountLimitsView, BatchView, CancelAllAfterView, CanceledView, KillSwitchView, ReplacedView
from gateway import candles, pages, routes
from gateway.deferred import DEFAULT_FAILURES, MAX_FAILURES, Accepted
from gateway.health import Readiness
from gateway.http import JOURNAL_SEQUENCE, MAX_SEQUENCE
from gateway.limits import Limits
from gateway.openapi.operations import KEY, REPLAYED
from gateway.places import PublicConfig
from gateway.views import AccountView, OrderEventView

Json = dict[str, Any]

DECIMAL_PATTERN = r"^-?[0-9]{1,40}(\.[0-9]{1,40})?([eE][+-]?[0-9]{1,3})?$"
_DAY_PATTERN = (
    "(197[1-9]|19[89][0-9]|[2-8][0-9]{3}|9[0-8][0-9]{2})-"
    "((0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])|(0[13-9]|1[0-2])-(29|30)|(0[13578]|1[02])-31)"
)
MOMENT_PATTERN = (
    rf"^{_DAY_PATTERN}[Tt]([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{{1,6}})?"
    r"([Zz]|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$"
)
"""Of entry.values.MOMENT_PATTERN those that exist every year."""


def ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def _object(properties: Json, required: Sequence[str] = (), description: str = "") -> Json:
    described = {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False}
    return described | ({"description": description} if description else {})


def _any_case(*words: str) -> str:
    """A pattern for these words in any case; JSON Schema knows no flag for that."""
    return "^(" + "|".join("".join(_letter(letter) for letter in word) for word in words) + ")$"


def _letter(letter: str) -> str:
    return f"[{letter.lower()}{letter.upper()}]" if letter.isalpha() else letter


def _optional(*schemas: Json, description: str = "") -> Json:
    return {"anyOf": [*schemas, {"type": "null"}], **({"description": description} if description else {})}


# Answers

_VIEWS = {
    "Order": OrderView,
    "OrderEvent": OrderEventView,
    "Trade": TradeView,
    "Depth": DepthView,
    "Market": MarketView,
    "Candle": CandleView,
    "Instrument": InstrumentView,
    "Account": AccountView,
    "AccountLimitsAnswer": AccountLimitsView,
    "KillSwitchAnswer": KillSwitchView,
    "CancelAllAfterAnswer": CancelAllAfterView,
    "BatchAnswer": BatchView,
    "Canceled": CanceledView,
    "Replaced": ReplacedView,
    "Accepted": Accepted,
    "Problem": ProblemView,
    "Readiness": Readiness,
    "Limits": Limits,
    "PublicConfig": PublicConfig,
}

_PLAIN_DECIMAL: Json = {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?$", "examples": ["100.10"]}
_SIGNED_DECIMAL: Json = {"type": "string", "pattern": r"^-?[0-9]+(\.[0-9]+)?$", "examples": ["-0.500"]}
_TIME: Json = {
    "type": "string",
    "pattern": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z$",
    "examples": ["2025-05-01T00:00:04.518000Z"],
}
_LEVELS: Json = {
    "type": "array",
    "items": {"type": "array", "items": _PLAIN_DECIMAL, "minItems": 2, "maxItems": 2},
    "examples": [[["100.10", "6.00"]]],
}
_DECIMAL_FIELDS = (
    *("price", "quantity", "filled_quantity", "remaining_quantity", "average_price", "best_bid", "best_ask"),
    *("last_price", "last_quantity", "volume_24h", "tick_size", "lot_size", "min_quantity", "max_quantity"),
    *("stop_price", "display_quantity", "protection_price", "notional", "lowest_price", "highest_price", "limit"),
    *("max_order_quantity", "max_order_notional", "max_position", "open", "high", "low", "close", "volume"),
)
_TIME_FIELDS = (
    *("created_at", "updated_at", "executed_at", "last_trade_at", "expires_at", "deadline", "completed_at"),
    *("time", "open_time", "close_time"),
)
_EXACT_FIELDS = (
    dict.fromkeys(_DECIMAL_FIELDS, _PLAIN_DECIMAL)
    | dict.fromkeys(_TIME_FIELDS, _TIME)
    | {
        "bids": _LEVELS,
        "asks": _LEVELS,
        "interval": {"enum": list(INTERVALS)},
        "positions": {"type": "object", "additionalProperties": _SIGNED_DECIMAL},
    }
)


def schemas() -> Json:
    _, components = msgspec.json.schema_components(_VIEWS.values(), ref_template="#/components/schemas/{name}")
    named = {view.__name__: name for name, view in _VIEWS.items()}
    described = {named.get(name, name): _exact(_renamed(schema, named)) for name, schema in components.items()}
    described |= {f"{name}s": _list_of(name) for name in ("Order", "OrderEvent", "Trade", "Instrument")}
    described["Candles"] = _object({"items": {"type": "array", "items": ref("Candle")}}, required=("items",))
    described["Live"] = _object({"status": {"const": "live"}}, required=("status",))
    described["File"] = {"type": "string"}
    assert not described.keys() & BODIES.keys()  # a body must not hide an answer
    return described | _DEFERRED | BODIES


def _renamed(schema: Any, named: dict[str, str]) -> Any:
    """The schema with references and titles by the public names."""
    if isinstance(schema, dict):
        return {key: _renamed(value, named) for key, value in schema.items()}
    if isinstance(schema, list):
        return [_renamed(value, named) for value in schema]
    if isinstance(schema, str):
        name = schema.removeprefix("#/components/schemas/")
        return schema.removesuffix(name) + named.get(name, name)
    return schema


def _exact(schema: Json) -> Json:
    """The schema of an answer, saying of its strings what types cannot, and that there is nothing else in it."""
    if "properties" not in schema:
        return schema
    properties = {name: _exact_field(name, field) for name, field in schema["properties"].items()}
    described = " ".join(schema.get("description", "").split())
    return schema | {"properties": properties, "description": described, "additionalProperties": False}


def _exact_field(name: str, field: Json) -> Json:
    exact = _EXACT_FIELDS.get(name, field)
    return {"anyOf": [exact, {"type": "null"}]} if "anyOf" in field and exact is not field else exact


def _list_of(name: str) -> Json:
    cursor = {"anyOf": [{"type": "string", "pattern": pages.CURSOR_PATTERN}, {"type": "null"}]}
    properties = {"items": {"type": "array", "items": ref(name)}, "next_cursor": cursor}
    return _object(properties, required=("items", "next_cursor"))


_COMMAND_STATUS: Json = {"enum": ["pending", "completed", "failed"]}
_DEFERRED: Json = {
    "Command": _object(
        {
            "command_id": {"type": "string"},
            "status": _COMMAND_STATUS,
            "created_at": _TIME,
            "completed_at": _optional(_TIME),
            "request": _object(
                {"method": {"type": "string"}, "path": {"type": "string"}, "body": {}},
                required=("method", "path", "body"),
            ),
            "http_status": _optional({"type": "integer"}),
            "result": {"description": "What an immediate request would have been answered; null unless completed."},
            "problem": _optional(ref("Problem"), description="Null unless failed."),
        },
        required=("command_id", "status", "created_at", "completed_at", "request", "http_status", "result", "problem"),
        description="A deferred command, as it was sent (with the client_order_id that it was given) and its result.",
    ),
    "Commands": _object({"items": {"type": "array", "items": ref("Command")}}, required=("items",)),
}

# Bodies

_DECIMAL_STRING: Json = {"type": "string", "pattern": DECIMAL_PATTERN}
_DECIMAL_NUMBER: Json = {"type": "number", "exclusiveMinimum": 0, "maximum": MAX_PRICE * 10**12}
_DECIMAL = (_DECIMAL_STRING, _DECIMAL_NUMBER)
_NOT_NEGATIVE = (_DECIMAL_STRING, {"type": "number", "minimum": 0, "maximum": MAX_PRICE * 10**12})
_SIDE_STRING: Json = {"type": "string", "pattern": _any_case("buy", "sell", "1", "-1")}
_SIDE_NUMBER: Json = {"type": "integer", "enum": [1, -1]}
_SYMBOL: Json = {"type": "string", "pattern": SYMBOL_PATTERN}
_NAME: Json = {"type": "string", "pattern": NAME_PATTERN}
_ORDER_ID: Json = {"type": "integer", "minimum": 1, "maximum": MAX_SEQUENCE}


def _one_of(words: Sequence[str]) -> Json:
    return {"type": "string", "pattern": _any_case(*words)}


def _whole(least: int, most: int) -> tuple[Json, Json]:
    return {"type": "integer", "minimum": least, "maximum": most}, {"type": "string", "pattern": "^-?[0-9]{1,41}$"}


def _item(action: str, schema: Json) -> Json:
    return _object({action: schema}, required=(action,))


_ORDER_NAMED: Json = {"anyOf": [_ORDER_ID, {"type": "string", "pattern": "^[1-9][0-9]{0,17}$"}]}
_AMENDMENT: Json = {
    "price": _optional(*_DECIMAL, description="Of a limit or stop_limit order."),
    "quantity": _optional(*_DECIMAL, description="The new total, fills included."),
    "stop_price": _optional(*_DECIMAL, description="Of a stop order that waits for its trigger."),
}

BODIES: Json = {
    "PlaceOrder": _object(
        {
            "symbol": _optional(_SYMBOL, description="Left out: the instrument listed from the start."),
            "side": {
                "anyOf": [_SIDE_STRING, _SIDE_NUMBER],
                "description": "`buy` or `sell` in any case, or 1 and -1.",
            },
            "type": _optional(_one_of([*TYPES]), description="Left out: `limit`. A `stop` becomes a market order."),
            "price": _optional(*_DECIMAL, description="Needed by limit and stop_limit orders, refused for others."),
            "quantity": _optional(*_DECIMAL, description="Needed, except with notional."),
            "time_in_force": _optional(
                _one_of([*TIMES_IN_FORCE]),
                description="Left out: GTC; for a market order, which never rests, IOC, also when it says GTC. GTD "
                "waits until expires_at, DAY until the UTC day ends.",
            ),
            "post_only": _optional({"type": "boolean"}, description="Refuse the order rather than trade at once."),
            "client_order_id": _optional(
                _NAME, description="The account's own name for the order: the same order with it is placed once."
            ),
            "account": _optional(_NAME, description="Left out: the only one that the key has, else `default`."),
            "stop_price": _optional(
                *_DECIMAL, description="A stop or stop_limit order waits for a trade at this price or beyond."
            ),
            "display_quantity": _optional(*_DECIMAL, description="An iceberg: so much is shown at a time."),
            "protection_price": _optional(*_DECIMAL, description="A market or stop order trades no further than this."),
            "notional": _optional(
                *_DECIMAL, description="A market order by what it spends or earns, instead of quantity."
            ),
            "expires_at": _optional(
                {"type": "string", "pattern": MOMENT_PATTERN},
                description="For GTD: a moment in ISO 8601 with its zone, to the microsecond.",
            ),
            "self_trade_prevention": _optional(
                _one_of([*SELF_TRADE_PREVENTIONS]),
                description="What happens when this order would trade with one of its own account. Left out: `none`.",
            ),
        },
        required=("side",),
    )
    | {
        "anyOf": [
            {"properties": {"quantity": {"not": {"type": "null"}}}, "required": ["quantity"]},
            {"properties": {"notional": {"not": {"type": "null"}}}, "required": ["notional"]},
        ]
    },
    "AmendOrder": _object(_AMENDMENT),
    "BatchItem": {
        "anyOf": [
            _item("place", ref("PlaceOrder")),
            _item("cancel", _object({"order_id": _ORDER_NAMED}, required=("order_id",))),
            _item("amend", _object({"order_id": _ORDER_NAMED} | _AMENDMENT, required=("order_id",))),
        ]
    },
    "Batch": {
        "anyOf": [
            _object(
                {
                    "items": {
                        "type": "array",
                        "items": {"anyOf": [ref("BatchItem"), {"description": "Gets a problem as its result."}]},
                        "minItems": 1,
                        "maxItems": MAX_COMMANDS,
                    },
                    "all_or_nothing": {"enum": [False, None]},
                },
                required=("items",),
            ),
            _object(
                {
                    "items": {
                        "type": "array",
                        "items": ref("BatchItem"),
                        "minItems": 1,
                        "maxItems": MAX_COMMANDS,
                    },
                    "all_or_nothing": {"const": True},
                },
                required=("items", "all_or_nothing"),
            ),
        ]
    },
    "CancelAllAfter": _object(
        {
            "seconds": {
                "anyOf": [_DECIMAL_STRING, {"type": "number", "minimum": 0, "maximum": MAX_DELAY // 1_000_000}],
                "description": "With at most six decimals; 0 disarms the switch.",
            }
        },
        required=("seconds",),
    ),
    "AccountLimits": _object(
        {
            "max_open_orders": _optional(*_whole(0, MAX_RESTING_ORDERS)),
            "symbols": _optional(
                {
                    "type": "object",
                    "propertyNames": _SYMBOL,
                    "additionalProperties": _optional(
                        _object(
                            {
                                "max_order_quantity": _optional(*_NOT_NEGATIVE),
                                "max_order_notional": _optional(*_NOT_NEGATIVE, description="Price times quantity."),
                                "max_position": _optional(
                                    *_NOT_NEGATIVE,
                                    description="Net quantity bought or sold, as if every open order were filled.",
                                ),
                            }
                        )
                    ),
                },
                description="Limits by symbol.",
            ),
        }
    ),
    "KillSwitch": _object({"engaged": {"type": "boolean"}}, required=("engaged",)),
    "SetInstrumentStatus": _object({"status": _one_of([*INSTRUMENT_STATUSES])}, required=("status",)),
    "DefineInstrument": _object(
        {
            "tick_size": {"anyOf": list(_DECIMAL), "description": "The smallest step of a price."},
            "lot_size": {"anyOf": list(_DECIMAL), "description": "The smallest step of a quantity."},
            "min_quantity": _optional(*_DECIMAL, description="Left out: one lot."),
            "max_quantity": _optional(*_DECIMAL, description="Left out: the largest quantity of the exchange."),
            "lowest_price": _optional(*_DECIMAL, description="Orders below are refused. Left out: any."),
            "highest_price": _optional(*_DECIMAL, description="Orders above are refused. Left out: any."),
            "band_basis_points": _optional(
                *_whole(1, MAX_BAND_BASIS_POINTS),
                description="How far from the last trade a price may be, in hundredths of a percent. Left out: any.",
            ),
        },
        required=("tick_size", "lot_size"),
    ),
}

_ORDER = {"side": "buy", "price": "99.50", "quantity": "2"}
EXAMPLES: Json = {
    "PlaceOrder": {
        "limit": {"value": {"side": "sell", "price": "100.10", "quantity": "10", "client_order_id": "mine-1"}},
        "market": {"value": {"symbol": "BTC-USD", "side": "buy", "type": "market", "quantity": 4}},
        "market by notional": {
            "value": {"side": "buy", "type": "market", "notional": "1000", "protection_price": "101"}
        },
        "post-only": {"value": {"side": 1, "price": 99.5, "quantity": "0.25", "post_only": True, "account": "alice"}},
        "stop": {"value": {"side": "sell", "type": "stop", "stop_price": "95", "quantity": "1"}},
        "stop-limit": {
            "value": {"side": "sell", "type": "stop_limit", "stop_price": "95", "price": "94.50", "quantity": "1"}
        },
        "iceberg": {"value": {"side": "sell", "price": "101", "quantity": "100", "display_quantity": "5"}},
        "until a moment": {"value": _ORDER | {"time_in_force": "GTD", "expires_at": "2030-01-31T12:00:00Z"}},
        "never with oneself": {"value": _ORDER | {"self_trade_prevention": "cancel_oldest"}},
    },
    "AmendOrder": {
        "both": {"value": {"price": "100.20", "quantity": "8"}},
        "less": {"value": {"quantity": "5"}},
        "stop price": {"value": {"stop_price": "96"}},
    },
    "Batch": {
        "item by item": {
            "value": {
                "items": [
                    {"place": _ORDER},
                    {"cancel": {"order_id": 1}},
                    {"amend": {"order_id": 2, "quantity": "5"}},
                ]
            }
        },
        "all or nothing": {
            "value": {
                "items": [{"place": _ORDER}, {"place": _ORDER | {"side": "sell", "price": "100.50"}}],
                "all_or_nothing": True,
            }
        },
    },
    "CancelAllAfter": {"arm": {"value": {"seconds": 30}}, "disarm": {"value": {"seconds": 0}}},
    "AccountLimits": {
        "some": {
            "value": {
                "max_open_orders": 10,
                "symbols": {"BTC-USD": {"max_order_quantity": "1", "max_order_notional": "1000", "max_position": "5"}},
            }
        },
        "none": {"value": {}},
    },
    "KillSwitch": {"engage": {"value": {"engaged": True}}, "release": {"value": {"engaged": False}}},
    "SetInstrumentStatus": {"halt": {"value": {"status": "halted"}}, "open": {"value": {"status": "trading"}}},
    "DefineInstrument": {
        "limited": {"value": {"tick_size": "0.01", "lot_size": "0.001", "min_quantity": "0.01", "max_quantity": "500"}},
        "banded": {"value": {"tick_size": "0.01", "lot_size": "0.001", "band_basis_points": 500}},
    },
}

# Parameters and headers


def _parameter(name: str, place: str, schema: Json, description: str = "", *, required: bool = False) -> Json:
    described = {"name": name, "in": place, "schema": schema, "required": required or place == "path"}
    return described | ({"description": description} if description else {})


def _at_most(most: int, default: int) -> Json:
    return {"type": "integer", "minimum": 1, "maximum": most, "default": default}


_TIME_OR_DAY: Json = {"type": "string", "anyOf": [{"pattern": MOMENT_PATTERN}, {"pattern": f"^{_DAY_PATTERN}$"}]}

PARAMETERS: Json = {
    "order_id": _parameter("order_id", "path", _ORDER_ID),
    "order_id_in_query": _parameter("order_id", "query", _ORDER_ID, "Maker or taker."),
    "symbol": _parameter("symbol", "query", _SYMBOL),
    "symbol_in_path": _parameter("symbol", "path", _SYMBOL),
    "account": _parameter("account", "query", _NAME),
    "account_in_path": _parameter("account", "path", _NAME),
    "client_order_id": _parameter("client_order_id", "query", _NAME),
    "client_order_id_in_path": _parameter("client_order_id", "path", _NAME),
    "command_id": _parameter("command_id", "path", _NAME),
    "status": _parameter("status", "query", _one_of([status.value for status in OrderStatus])),
    "status_of_commands": _parameter("status", "query", {"const": "failed"}, required=True),
    "side": _parameter("side", "query", _SIDE_STRING),
    "limit": _parameter("limit", "query", _at_most(pages.MAX_LIMIT, pages.DEFAULT_LIMIT)),
    "limit_of_commands": _parameter("limit", "query", _at_most(MAX_FAILURES, DEFAULT_FAILURES)),
    "cursor": _parameter(
        "cursor", "query", {"type": "string", "pattern": pages.CURSOR_PATTERN}, "next_cursor of the page before."
    ),
    "levels": _parameter("levels", "query", _at_most(routes.MAX_LEVELS, routes.DEFAULT_LEVELS)),
    "interval": _parameter("interval", "query", {"enum": list(INTERVALS), "default": candles.DEFAULT_INTERVAL}),
    "from": _parameter("from", "query", _TIME_OR_DAY, "A moment with its zone, or a day: its beginning in UTC."),
    "to": _parameter("to", "query", _TIME_OR_DAY, "Just before this; as `from`."),
    "format": _parameter("format", "query", _one_of(["csv", "ndjson"]) | {"default": "csv"}),
    JOURNAL_SEQUENCE: _parameter(
        JOURNAL_SEQUENCE,
        "header",
        {"type": "integer", "minimum": 0, "maximum": MAX_SEQUENCE},
        "Do not answer from before this journal sequence.",
    ),
    KEY: _parameter(
        KEY,
        "header",
        {"type": "string"},
        "The client_order_id of the order, for clients that send one with every request.",
    ),
    "Prefer": _parameter(
        "Prefer",
        "header",
        {"type": "string"},
        "`respond-async`: store the command, answer 202, and carry it out as soon as that is possible.",
    ),
}


def _header(description: str, schema: Json, *, required: bool = True) -> Json:
    return {"description": description, "required": required, "schema": schema}


HEADERS: Json = {
    JOURNAL_SEQUENCE: _header(
        "The journal sequence that holds the command; of a file, that it goes up to.",
        {"type": "integer", "minimum": 1},
    ),
    REPLAYED: _header("It was carried out before: this is its first answer.", {"const": "true"}, required=False),
    "Location": _header("Where it can be read.", {"type": "string"}),
    "Preference-Applied": _header("The command was stored.", {"const": "respond-async"}),
    "Retry-After": _header("Seconds after which to try again.", {"type": "integer", "minimum": 1}),
    "WWW-Authenticate": _header("How to authenticate.", {"type": "string"}),
}
