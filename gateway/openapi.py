"""The OpenAPI document, written out rather than derived: every answer that an address can give is in it.

Litestar could derive one from the handlers' types, but these read raw bytes, and the document must say more than types
can: which codes come with which status, that a price is a string or a number, that null means absent
(docs/decisions/0005). A test holds it against the routes, and Schemathesis against the running server.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from contracts.messages import (
    MAX_PRICE,
    NAME_PATTERN,
    SYMBOL_PATTERN,
    OrderStatus,
    RejectReason,
)
from contracts.views import DepthView, InstrumentView, MarketView, OrderView, TradeView
from entry.problems import CODES, ProblemView
from gateway import pages, routes
from gateway.health import Readiness
from gateway.http import JOURNAL_SEQUENCE, MAX_SEQUENCE

Json = dict[str, Any]

DECIMAL_PATTERN = r"^-?[0-9]{1,40}(\.[0-9]{1,40})?([eE][+-]?[0-9]{1,3})?$"

_PROBLEM_TYPE = "application/problem+json"
_BODY_CODES = (
    "malformed_json",
    "missing_field",
    "unknown_field",
    "duplicate_field",
    "invalid_type",
    "invalid_value",
    "not_a_decimal",
)
_BODY_LIMITS = ("body_too_large", "unsupported_media_type")
_COMMAND_CODES = ("overloaded", "matcher_unavailable", "result_unknown")
_HISTORY_CODES = ("history_unavailable", "reads_behind", "unknown_sequence", "invalid_parameter")
_MARKET_CODES = ("market_data_unavailable", "reads_behind", "unknown_sequence", "invalid_parameter")
_ALWAYS = ("unknown_parameter", "internal_error")


@dataclass(frozen=True, slots=True)
class Operation:
    """One method at one address. `answers`: status to (description, schema name, names of the headers)."""

    method: str
    path: str
    name: str
    summary: str
    description: str
    answers: dict[int, tuple[str, str, tuple[str, ...]]]
    codes: Sequence[str] = ()
    parameters: Sequence[str] = ()
    body: str | None = None
    tag: str = "orders"


_COMMAND_HEADERS = (JOURNAL_SEQUENCE,)
_LIST_PARAMETERS = ("limit", "cursor", JOURNAL_SEQUENCE)
_PLACE_REFUSALS = tuple(
    reason.value
    for reason in (
        RejectReason.UNKNOWN_SYMBOL,
        RejectReason.INVALID_SYMBOL,
        RejectReason.INVALID_ACCOUNT,
        RejectReason.INVALID_CLIENT_ORDER_ID,
        RejectReason.PRICE_REQUIRED,
        RejectReason.PRICE_NOT_ALLOWED,
        RejectReason.PRICE_OUT_OF_RANGE,
        RejectReason.QUANTITY_OUT_OF_RANGE,
        RejectReason.POST_ONLY_NOT_ALLOWED,
        RejectReason.POST_ONLY_WOULD_TRADE,
        RejectReason.TOO_MANY_ORDERS,
        RejectReason.DUPLICATE_CLIENT_ORDER_ID,
    )
)

OPERATIONS = (
    Operation(
        "post",
        "/orders",
        "placeOrder",
        "Place an order",
        "Answers when the order is on disk, with the trades that it led to. An order that finds nothing and may not "
        "rest (IOC, FOK, market) is a 201 with status `canceled` and the reason. Send a client_order_id: then an order "
        "whose answer was lost can be sent again without risk.",
        {201: ("The order, with its trades so far", "Order", ("Location", *_COMMAND_HEADERS))},
        (*_BODY_CODES, *_BODY_LIMITS, "off_tick", "off_lot", *_PLACE_REFUSALS, *_COMMAND_CODES),
        body="PlaceOrder",
    ),
    Operation(
        "get",
        "/orders",
        "listOrders",
        "List orders, newest first",
        "Every order ever accepted that passes all the filters. With client_order_id and no account, the account is "
        "`default`: a client_order_id is a name within an account.",
        {200: ("A page of orders", "Orders", ())},
        ("invalid_cursor", "invalid_value", *_HISTORY_CODES),
        ("symbol", "account", "status", "side", "client_order_id", *_LIST_PARAMETERS),
    ),
    Operation(
        "get",
        "/orders/{order_id}",
        "getOrder",
        "One order",
        "As it stands after everything that you have been told.",
        {200: ("The order", "Order", ())},
        ("unknown_order", *_HISTORY_CODES),
        ("order_id", JOURNAL_SEQUENCE),
    ),
    Operation(
        "put",
        "/orders/{order_id}",
        "amendOrder",
        "Amend price and/or quantity",
        "`quantity` is the new total, fills included. A smaller quantity at the same price keeps the order's place in "
        "the queue; anything else sends it to the back, and a new price may trade at once.",
        {200: ("The order after the change, with the trades that it led to", "Order", _COMMAND_HEADERS)},
        (
            *_BODY_CODES,
            *_BODY_LIMITS,
            "invalid_parameter",
            "off_tick",
            "off_lot",
            "unknown_order",
            "order_not_resting",
            "nothing_to_amend",
            "price_out_of_range",
            "quantity_out_of_range",
            "post_only_would_trade",
            "history_unavailable",
            "reads_behind",
            *_COMMAND_CODES,
        ),
        ("order_id",),
        "AmendOrder",
    ),
    Operation(
        "delete",
        "/orders/{order_id}",
        "cancelOrder",
        "Cancel what is left of an order",
        "",
        {200: ("The canceled order", "Order", _COMMAND_HEADERS)},
        ("invalid_parameter", "unknown_order", "order_not_resting", *_COMMAND_CODES),
        ("order_id",),
    ),
    Operation(
        "get",
        "/accounts/{account}/orders",
        "listAccountOrders",
        "List an account's orders, newest first",
        "The same as `GET /orders?account=`.",
        {200: ("A page of orders", "Orders", ())},
        ("invalid_cursor", "invalid_value", *_HISTORY_CODES),
        ("account in path", "symbol", "status", "side", "client_order_id", *_LIST_PARAMETERS),
    ),
    Operation(
        "get",
        "/trades",
        "listTrades",
        "List trades, newest first",
        "`order_id` finds the trades of that order, as maker or taker.",
        {200: ("A page of trades", "Trades", ())},
        ("invalid_cursor", *_HISTORY_CODES),
        ("symbol", "order_id in query", *_LIST_PARAMETERS),
        tag="market",
    ),
    Operation(
        "get",
        "/market/{symbol}",
        "getMarket",
        "Best bid and ask, last trade, 24 h volume",
        "",
        {200: ("The market", "Market", ())},
        ("unknown_symbol in path", *_MARKET_CODES),
        ("symbol in path", JOURNAL_SEQUENCE),
        tag="market",
    ),
    Operation(
        "get",
        "/market/{symbol}/depth",
        "getDepth",
        "Price levels of the book, best first",
        "",
        {200: ("The depth", "Depth", ())},
        ("unknown_symbol in path", *_MARKET_CODES),
        ("symbol in path", "levels", JOURNAL_SEQUENCE),
        tag="market",
    ),
    Operation(
        "get",
        "/instruments",
        "listInstruments",
        "List the instruments",
        "",
        {200: ("Every instrument", "Instruments", ())},
        ("matcher_unavailable", "unknown_sequence", "invalid_parameter"),
        (JOURNAL_SEQUENCE,),
        tag="instruments",
    ),
    Operation(
        "get",
        "/instruments/{symbol}",
        "getInstrument",
        "One instrument",
        "",
        {200: ("The instrument", "Instrument", ())},
        ("unknown_symbol in path", "matcher_unavailable", "unknown_sequence", "invalid_parameter"),
        ("symbol in path", JOURNAL_SEQUENCE),
        tag="instruments",
    ),
    Operation(
        "put",
        "/instruments/{symbol}",
        "defineInstrument",
        "List an instrument, or change its quantity limits",
        "tick_size and lot_size of a listed instrument never change. Limits that are left out are one lot and the "
        "largest quantity of the exchange.",
        {
            201: ("The instrument, new", "Instrument", ("Location", *_COMMAND_HEADERS)),
            200: ("The instrument, changed", "Instrument", _COMMAND_HEADERS),
        },
        (
            *_BODY_CODES,
            *_BODY_LIMITS,
            "off_lot",
            "invalid_symbol",
            "invalid_instrument",
            "instrument_rules_fixed",
            "quantity_out_of_range",
            *_COMMAND_CODES,
        ),
        ("symbol in path",),
        "DefineInstrument",
        tag="instruments",
    ),
    Operation(
        "get",
        "/health/live",
        "live",
        "Is the gateway running?",
        "",
        {200: ("It is", "Live", ())},
        tag="health",
    ),
    Operation(
        "get",
        "/health/ready",
        "ready",
        "Is the whole exchange ready?",
        "Asks NATS, the matcher, the recorder (and how many commits it is behind) and the broadcaster.",
        {200: ("All of it", "Readiness", ()), 503: ("Some check is not ok", "Readiness", ())},
        tag="health",
    ),
)


def document(version: str) -> Json:
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Pricetime",
            "version": version,
            "summary": "An order-matching exchange in a box",
            "description": _DESCRIPTION,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "tags": [{"name": name} for name in ("orders", "market", "instruments", "health")],
        "paths": _paths(),
        "components": {"schemas": _schemas(), "parameters": _PARAMETERS, "headers": _HEADERS},
    }


_DESCRIPTION = """\
Prices and quantities are decimal strings in every answer; in requests a string or a number, of which the literal
counts. Times are ISO 8601 in UTC with microseconds. A field that is null in a request is a field left out.

**Errors** are `application/problem+json` (RFC 9457). `code` is stable and made for programs, `detail` says what to do,
`field` names what it is about; [all codes](/docs/errors). 400: the request does not have the shape described here.
422: it does, and a rule of the exchange refuses it. Refused commands change nothing.

**Read your own writes**: reads wait until they show everything that this gateway has told anybody. Told by another
gateway or over NATS? Send the `Journal-Sequence` of that answer with the read.
"""


def _paths() -> Json:
    paths: Json = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method] = _operation(operation)
    return paths


def _operation(operation: Operation) -> Json:
    described: Json = {
        "operationId": operation.name,
        "summary": operation.summary,
        "tags": [operation.tag],
        "responses": {
            **{str(status): _answer(*answer) for status, answer in operation.answers.items()},
            **_problems([*operation.codes, *_always(operation)]),
        },
    }
    if operation.description:
        described["description"] = operation.description
    if operation.parameters:
        described["parameters"] = [{"$ref": f"#/components/parameters/{_key(name)}"} for name in operation.parameters]
    if operation.body is not None:
        content = {"schema": _ref(operation.body), "examples": _EXAMPLES[operation.body]}
        described["requestBody"] = {"required": True, "content": {"application/json": content}}
    return described


def _always(operation: Operation) -> Iterable[str]:
    return ("internal_error",) if operation.tag == "health" else _ALWAYS


def _answer(description: str, schema: str, headers: tuple[str, ...]) -> Json:
    described: Json = {"description": description, "content": {"application/json": {"schema": _ref(schema)}}}
    if headers:
        described["headers"] = {name: {"$ref": f"#/components/headers/{name}"} for name in headers}
    return described


def _problems(codes: Iterable[str]) -> Json:
    """One response per status, naming its codes."""
    by_status: dict[int, list[str]] = {}
    for code in dict.fromkeys(codes):
        name, _, place = code.partition(" in ")
        by_status.setdefault(404 if place else CODES[name].status, []).append(name)
    return {str(status): _problem(status, names) for status, names in sorted(by_status.items())}


def _problem(status: int, codes: list[str]) -> Json:
    described: Json = {
        "description": "\n".join(f"- `{code}`: {CODES[code].meaning}" for code in codes),
        "content": {
            _PROBLEM_TYPE: {
                "schema": {
                    "allOf": [_ref("Problem"), {"properties": {"code": {"enum": codes}, "status": {"const": status}}}]
                },
                "examples": {code: {"value": _example(status, code)} for code in codes},
            }
        },
    }
    if status == 503:
        described["headers"] = {"Retry-After": {"$ref": "#/components/headers/Retry-After"}}
    return described


def _example(status: int, code: str) -> Json:
    return {
        "type": f"/docs/errors#{code}",
        "title": CODES[code].title,
        "status": status,
        "detail": CODES[code].meaning,
        "code": code,
    }


def _ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def _key(parameter: str) -> str:
    return parameter.replace(" ", "_")


# Schemas

_VIEWS = {
    "Order": OrderView,
    "Trade": TradeView,
    "Depth": DepthView,
    "Market": MarketView,
    "Instrument": InstrumentView,
    "Problem": ProblemView,
    "Readiness": Readiness,
}


def _schemas() -> Json:
    _, components = msgspec.json.schema_components(_VIEWS.values(), ref_template="#/components/schemas/{name}")
    named = {view.__name__: name for name, view in _VIEWS.items()}
    schemas = {named.get(name, name): _exact(_renamed(schema, named)) for name, schema in components.items()}
    schemas |= {f"{name}s": _list_of(name) for name in ("Order", "Trade", "Instrument")}
    schemas["Live"] = _object({"status": {"const": "live"}}, required=("status",))
    return schemas | _BODIES


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


_PLAIN_DECIMAL: Json = {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?$", "examples": ["100.10"]}
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
)
_TIME_FIELDS = ("created_at", "updated_at", "executed_at", "last_trade_at")
_EXACT_FIELDS = (
    dict.fromkeys(_DECIMAL_FIELDS, _PLAIN_DECIMAL)
    | dict.fromkeys(_TIME_FIELDS, _TIME)
    | {"bids": _LEVELS, "asks": _LEVELS}
)


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
    properties = {"items": {"type": "array", "items": _ref(name)}, "next_cursor": cursor}
    return _object(properties, required=("items", "next_cursor"))


def _object(properties: Json, required: Sequence[str] = ()) -> Json:
    return {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False}


def _any_case(*words: str) -> str:
    """A pattern for these words in any case; JSON Schema knows no flag for that."""
    return "^(" + "|".join("".join(_letter(letter) for letter in word) for word in words) + ")$"


def _letter(letter: str) -> str:
    return f"[{letter.lower()}{letter.upper()}]" if letter.isalpha() else letter


def _optional(*schemas: Json, description: str = "") -> Json:
    return {"anyOf": [*schemas, {"type": "null"}], **({"description": description} if description else {})}


_DECIMAL_STRING: Json = {"type": "string", "pattern": DECIMAL_PATTERN}
_DECIMAL_NUMBER: Json = {"type": "number", "exclusiveMinimum": 0, "maximum": MAX_PRICE * 10**12}
_DECIMAL = (_DECIMAL_STRING, _DECIMAL_NUMBER)
_SIDE_STRING: Json = {"type": "string", "pattern": _any_case("buy", "sell", "1", "-1")}

_BODIES: Json = {
    "PlaceOrder": _object(
        {
            "symbol": _optional(
                {"type": "string", "pattern": SYMBOL_PATTERN},
                description="Left out: the instrument listed from the start.",
            ),
            "side": {
                "anyOf": [_SIDE_STRING, {"type": "integer", "enum": [1, -1]}],
                "description": "`buy` or `sell` in any case, or 1 and -1.",
            },
            "type": _optional(
                {"type": "string", "pattern": _any_case("limit", "market")}, description="Left out: `limit`."
            ),
            "price": _optional(*_DECIMAL, description="Needed by a limit order, refused for a market order."),
            "quantity": {"anyOf": list(_DECIMAL)},
            "time_in_force": _optional(
                {"type": "string", "pattern": _any_case("gtc", "ioc", "fok")},
                description="Left out: GTC; for a market order, which never rests, IOC, also when it says GTC.",
            ),
            "post_only": _optional({"type": "boolean"}, description="Refuse the order rather than trade at once."),
            "client_order_id": _optional({"type": "string", "pattern": NAME_PATTERN}),
            "account": _optional({"type": "string", "pattern": NAME_PATTERN}, description="Left out: `default`."),
        },
        required=("side", "quantity"),
    ),
    "AmendOrder": _object(
        {
            "price": _optional(*_DECIMAL),
            "quantity": _optional(*_DECIMAL, description="The new total, fills included."),
        }
    ),
    "DefineInstrument": _object(
        {
            "tick_size": {"anyOf": list(_DECIMAL), "description": "The smallest step of a price."},
            "lot_size": {"anyOf": list(_DECIMAL), "description": "The smallest step of a quantity."},
            "min_quantity": _optional(*_DECIMAL, description="Left out: one lot."),
            "max_quantity": _optional(*_DECIMAL, description="Left out: the largest quantity of the exchange."),
        },
        required=("tick_size", "lot_size"),
    ),
}

_EXAMPLES: Json = {
    "PlaceOrder": {
        "limit": {"value": {"side": "sell", "price": "100.10", "quantity": "10", "client_order_id": "mine-1"}},
        "market": {"value": {"symbol": "BTC-USD", "side": "buy", "type": "market", "quantity": 4}},
        "post-only": {"value": {"side": 1, "price": 99.5, "quantity": "0.25", "post_only": True, "account": "alice"}},
    },
    "AmendOrder": {"both": {"value": {"price": "100.20", "quantity": "8"}}, "less": {"value": {"quantity": "5"}}},
    "DefineInstrument": {
        "limited": {"value": {"tick_size": "0.01", "lot_size": "0.001", "min_quantity": "0.01", "max_quantity": "500"}}
    },
}


def _parameter(name: str, place: str, schema: Json, description: str = "") -> Json:
    described = {"name": name, "in": place, "schema": schema, "required": place == "path"}
    return described | ({"description": description} if description else {})


_ORDER_ID: Json = {"type": "integer", "minimum": 1, "maximum": MAX_SEQUENCE}
_SYMBOL: Json = {"type": "string", "pattern": SYMBOL_PATTERN}
_NAME: Json = {"type": "string", "pattern": NAME_PATTERN}

_PARAMETERS: Json = {
    "order_id": _parameter("order_id", "path", _ORDER_ID),
    "order_id_in_query": _parameter("order_id", "query", _ORDER_ID, "Maker or taker."),
    "symbol": _parameter("symbol", "query", _SYMBOL),
    "symbol_in_path": _parameter("symbol", "path", _SYMBOL),
    "account": _parameter("account", "query", _NAME),
    "account_in_path": _parameter("account", "path", _NAME),
    "client_order_id": _parameter("client_order_id", "query", _NAME),
    "status": _parameter(
        "status", "query", {"type": "string", "pattern": _any_case(*(status.value for status in OrderStatus))}
    ),
    "side": _parameter("side", "query", _SIDE_STRING),
    "limit": _parameter(
        "limit",
        "query",
        {"type": "integer", "minimum": 1, "maximum": pages.MAX_LIMIT, "default": pages.DEFAULT_LIMIT},
    ),
    "cursor": _parameter(
        "cursor", "query", {"type": "string", "pattern": pages.CURSOR_PATTERN}, "next_cursor of the page before."
    ),
    "levels": _parameter(
        "levels",
        "query",
        {"type": "integer", "minimum": 1, "maximum": routes.MAX_LEVELS, "default": routes.DEFAULT_LEVELS},
    ),
    JOURNAL_SEQUENCE: _parameter(
        JOURNAL_SEQUENCE,
        "header",
        {"type": "integer", "minimum": 0, "maximum": MAX_SEQUENCE},
        "Do not answer from before this journal sequence.",
    ),
}

_HEADERS: Json = {
    JOURNAL_SEQUENCE: {
        "description": "The journal sequence that holds the command.",
        "required": True,
        "schema": {"type": "integer", "minimum": 1},
    },
    "Location": {"description": "Where it can be read.", "required": True, "schema": {"type": "string"}},
    "Retry-After": {
        "description": "Seconds after which to try again.",
        "required": True,
        "schema": {"type": "integer", "minimum": 1},
    },
}
