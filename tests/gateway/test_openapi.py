"""The OpenAPI document against the routes, the codes and the parser that it describes."""

import json
import re
from collections.abc import Callable
from typing import Any

import jsonschema_rs
import pytest

from contracts.views import Instrument
from entry import administration, batches, commands
from entry.bodies import read_fields
from entry.problems import CODES, Declined
from gateway import candles, export
from gateway.command_routes import command_routes
from gateway.deferred import Deferral
from gateway.deferred_commands import DEFERRABLE
from gateway.history_routes import PAGE_FILTERS, history_routes
from gateway.limits import limits_routes
from gateway.openapi import OPERATIONS, document
from gateway.places import config_routes
from gateway.routes import ACCOUNT_ORDER_FILTERS, ORDER_FILTERS, TRADE_FILTERS, Route, health_routes, read_routes
from runtime.settings import Settings

DOCUMENT = json.loads(json.dumps(document("1")))
GOLD = Instrument("GOLD", "0.01", "0.001", 1, 10**6)


def all_routes() -> dict[tuple[str, str], Route]:
    anything: Any = None
    deferral = Deferral.__new__(Deferral)  # it needs nothing to name its routes
    routes = [
        *deferral.routes(command_routes(anything, 0)),
        *read_routes(anything),
        *history_routes(anything, anything),
        *limits_routes(Settings()),
        *config_routes(Settings(), "1"),
        *health_routes(anything),
    ]
    return {(route.method.lower(), re.sub(r":\w+", "", route.path)): route for route in routes}


def test_it_describes_exactly_the_routes() -> None:
    assert {(operation.method, operation.path) for operation in OPERATIONS} == all_routes().keys()
    assert len({operation.name for operation in OPERATIONS}) == len(OPERATIONS)


def test_it_names_the_scopes_that_the_routes_need() -> None:
    routes = all_routes()
    for operation in OPERATIONS:
        assert operation.scope is routes[operation.method, operation.path].scope, operation.name


def test_it_names_what_can_be_deferred() -> None:
    deferrable = {(method.lower(), path.replace(":str", "")) for method, path in DEFERRABLE}
    assert {(each.method, each.path) for each in OPERATIONS if each.is_deferrable} == deferrable


def test_every_kind_of_answer_is_described() -> None:
    for operation in OPERATIONS:
        described = DOCUMENT["paths"][operation.path][operation.method]["responses"]
        assert ("202" in described) == operation.is_deferrable
        assert "500" in described


def test_every_reference_leads_somewhere() -> None:
    for reference in re.findall(r'"\$ref": "#/([^"]+)"', json.dumps(DOCUMENT)):
        found = DOCUMENT
        for key in reference.split("/"):
            found = found[key]


def test_every_code_is_documented_somewhere() -> None:
    described = json.dumps(DOCUMENT["paths"])
    of_no_operation = {"not_found", "method_not_allowed", "bad_request", "command_expired"}
    of_no_operation |= {"host_not_allowed", "origin_not_allowed", "too_many_connections"}  # before it is known which
    assert {code for code in CODES if f'"{code}"' not in described} == of_no_operation


@pytest.mark.parametrize(
    ("path", "filters"),
    [
        ("/orders", ORDER_FILTERS),
        ("/accounts/{account}/orders", ACCOUNT_ORDER_FILTERS),
        ("/trades", TRADE_FILTERS),
        ("/orders/{order_id}/history", PAGE_FILTERS),
        ("/orders/{order_id}/trades", PAGE_FILTERS),
        ("/market/{symbol}/candles", candles.FILTERS),
        ("/export/orders", export.FILTERS),
        ("/export/trades", export.FILTERS),
    ],
)
def test_the_filters_of_lists(path: str, filters: tuple[str, ...]) -> None:
    names = [reference["$ref"].rsplit("/", 1)[-1] for reference in DOCUMENT["paths"][path]["get"]["parameters"]]
    parameters = [DOCUMENT["components"]["parameters"][name] for name in names]
    assert {parameter["name"] for parameter in parameters if parameter["in"] == "query"} == set(filters)


def test_the_fields_of_bodies() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    assert tuple(schemas["PlaceOrder"]["properties"]) == commands.PLACE_FIELDS
    assert tuple(schemas["AmendOrder"]["properties"]) == commands.AMEND_FIELDS
    assert tuple(schemas["DefineInstrument"]["properties"]) == administration.INSTRUMENT_FIELDS
    assert tuple(schemas["AccountLimits"]["properties"]) == administration.LIMITS_FIELDS
    limits = schemas["AccountLimits"]["properties"]["symbols"]["anyOf"][0]["additionalProperties"]["anyOf"][0]
    assert tuple(limits["properties"]) == administration.SYMBOL_LIMITS_FIELDS
    assert tuple(schemas["KillSwitch"]["properties"]) == administration.KILL_SWITCH_FIELDS
    assert tuple(schemas["CancelAllAfter"]["properties"]) == administration.CANCEL_ALL_AFTER_FIELDS
    assert tuple(schemas["SetInstrumentStatus"]["properties"]) == administration.STATUS_FIELDS
    for form in schemas["Batch"]["anyOf"]:
        assert tuple(form["properties"]) == batches.BATCH_FIELDS
    items = {name: item for form in schemas["BatchItem"]["anyOf"] for name, item in form["properties"].items()}
    assert items.keys() == batches.ITEM_FIELDS.keys()
    for name in ("cancel", "amend"):
        assert tuple(items[name]["properties"]) == batches.ITEM_FIELDS[name]


def is_described(body: object, name: str = "PlaceOrder") -> bool:
    schemas = DOCUMENT["components"]["schemas"]
    components = {"components": {"schemas": schemas}}
    return bool(jsonschema_rs.is_valid(components | schemas[name], body))


def is_well_formed(read: Callable[[bytes], object], body: object) -> bool:
    """Whether the parser finds the shape right; rules of the exchange (422) are another matter."""
    try:
        read(json.dumps(body).encode())
    except Declined as error:
        return error.problem.http_status == 422
    return True


def read_order(body: bytes) -> object:
    fields = read_fields(body, commands.PLACE_FIELDS)
    commands.order_symbol(fields, "GOLD")
    return commands.place_order(fields, GOLD)


VALUES = [
    *(None, True, False, 1, -1, 0, 2.5, "1", "-1", "1e5", "1e5000", "0.1.2", "", "buy", "SELL", "hold", "Limit", "gtc"),
    *("GTD", "stop_limit", "none", "Decrement", "halted", "2030-01-31T12:00:00Z", "2030-01-31t12:00:00.5+05:30"),
    *("2030-01-31", "2030-02-30T12:00:00Z", "2030-01-31T12:00:00", "2030-01-31T25:00:00Z", [], {}),
]
NAMES = ("symbol", "account", "client_order_id")


@pytest.mark.parametrize("field", commands.PLACE_FIELDS)
@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_a_body_is_described_exactly_when_its_shape_is_accepted(field: str, value: object) -> None:
    body = {"side": "buy", "price": "1", "quantity": "1", field: value}
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if (field in NAMES and isinstance(value, str)) or (field in DECIMALS and is_number and value <= 0):
        return  # refused with 422 by name: the document is stricter than the shape
    assert is_described(body) == is_well_formed(read_order, body)


DECIMALS = ("price", "quantity", "stop_price", "display_quantity", "protection_price", "notional")


@pytest.mark.parametrize("body", [{"side": "buy"}, {"side": "buy", "quantity": None, "notional": None}])
def test_an_order_says_how_much(body: object) -> None:
    assert not is_described(body)
    assert not is_well_formed(read_order, body)
    assert is_described({"side": "buy", "notional": 1})


def read_status(body: bytes) -> object:
    return administration.instrument_status("GOLD", read_fields(body, administration.STATUS_FIELDS))


def read_kill_switch(body: bytes) -> object:
    return administration.kill_switch("anna", read_fields(body, administration.KILL_SWITCH_FIELDS))


def read_delay(body: bytes) -> object:
    return administration.cancel_all_after("anna", read_fields(body, administration.CANCEL_ALL_AFTER_FIELDS))


def read_limits(body: bytes) -> object:
    fields = read_fields(body, administration.LIMITS_FIELDS)
    return administration.account_limits("anna", fields, dict.fromkeys(administration.limited_symbols(fields), GOLD))


def read_instrument(body: bytes) -> object:
    return administration.define_instrument("TIN", read_fields(body, administration.INSTRUMENT_FIELDS))


def read_batch(body: bytes) -> object:
    """An all-or-nothing batch of one amendment."""
    [item] = batches.read_items(read_fields(body, batches.BATCH_FIELDS))
    _, fields = batches.read_item(item)
    return commands.amend_order(commands.order_number(fields), fields, GOLD)


SIZES = {"tick_size": 1, "lot_size": 1}
ALL = {"all_or_nothing": True}


@pytest.mark.parametrize(
    ("name", "read", "around"),
    [
        ("SetInstrumentStatus", read_status, lambda value: {"status": value}),
        ("KillSwitch", read_kill_switch, lambda value: {"engaged": value}),
        ("CancelAllAfter", read_delay, lambda value: {"seconds": value}),
        ("AccountLimits", read_limits, lambda value: {"max_open_orders": value}),
        ("AccountLimits", read_limits, lambda value: {"symbols": value}),
        ("AccountLimits", read_limits, lambda value: {"symbols": {"GOLD": value}}),
        ("AccountLimits", read_limits, lambda value: {"symbols": {"GOLD": {"max_position": value}}}),
        (
            "DefineInstrument",
            read_instrument,
            lambda value: SIZES | {"band_basis_points": value},
        ),
        ("DefineInstrument", read_instrument, lambda value: SIZES | {"lowest_price": value}),
        ("Batch", read_batch, lambda value: {"items": [value]} | ALL),
        ("Batch", read_batch, lambda value: {"items": [{"amend": {"order_id": value}}]} | ALL),
        (
            "Batch",
            read_batch,
            lambda value: {"items": [{"amend": {"order_id": 1, "price": value}}]} | ALL,
        ),
    ],
)
@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_other_bodies_are_described_exactly_too(
    name: str, read: Callable[[bytes], object], around: Callable[[object], object], value: object
) -> None:
    if value in (0, -1, 2.5) and not isinstance(value, bool) and is_well_formed(read, around(value)):
        return  # refused with 422 by name: the document is stricter than the shape
    assert is_described(around(value), name) == is_well_formed(read, around(value))


def test_the_examples_are_what_they_stand_for() -> None:
    for operation in OPERATIONS:
        if operation.body is not None:
            body = DOCUMENT["paths"][operation.path][operation.method]["requestBody"]
            for example in body["content"]["application/json"]["examples"].values():
                assert is_described(example["value"], operation.body), example
