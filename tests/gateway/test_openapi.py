"""The OpenAPI document against the routes, the codes and the parser that it describes."""

import json
import re
from typing import Any

import jsonschema_rs
import pytest

from contracts.views import Instrument
from entry import commands
from entry.bodies import read_fields
from entry.problems import CODES, Declined
from gateway.openapi import OPERATIONS, document
from gateway.routes import (
    ACCOUNT_ORDER_FILTERS,
    ORDER_FILTERS,
    TRADE_FILTERS,
    command_routes,
    health_routes,
    read_routes,
)

DOCUMENT = json.loads(json.dumps(document("1")))
GOLD = Instrument("GOLD", "0.01", "0.001", 1, 10**6)


def test_it_describes_exactly_the_routes() -> None:
    anything: Any = None
    routes = [*command_routes(anything, 0), *read_routes(anything), *health_routes(anything)]
    served = {(route.method.lower(), re.sub(r":\w+", "", route.path)) for route in routes}
    assert {(operation.method, operation.path) for operation in OPERATIONS} == served


def test_every_reference_leads_somewhere() -> None:
    for reference in re.findall(r'"\$ref": "#/([^"]+)"', json.dumps(DOCUMENT)):
        found = DOCUMENT
        for key in reference.split("/"):
            found = found[key]


def test_every_code_is_documented_somewhere() -> None:
    described = json.dumps(DOCUMENT["paths"])
    of_no_operation = {"not_found", "method_not_allowed", "bad_request"}
    assert {code for code in CODES if f'"{code}"' not in described} == of_no_operation


@pytest.mark.parametrize(
    ("path", "filters"),
    [("/orders", ORDER_FILTERS), ("/accounts/{account}/orders", ACCOUNT_ORDER_FILTERS), ("/trades", TRADE_FILTERS)],
)
def test_the_filters_of_lists(path: str, filters: tuple[str, ...]) -> None:
    names = [reference["$ref"].rsplit("/", 1)[-1] for reference in DOCUMENT["paths"][path]["get"]["parameters"]]
    parameters = [DOCUMENT["components"]["parameters"][name] for name in names]
    assert {parameter["name"] for parameter in parameters if parameter["in"] == "query"} == set(filters)


def test_the_fields_of_bodies() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    assert tuple(schemas["PlaceOrder"]["properties"]) == commands.PLACE_FIELDS
    assert tuple(schemas["AmendOrder"]["properties"]) == commands.AMEND_FIELDS
    assert tuple(schemas["DefineInstrument"]["properties"]) == commands.INSTRUMENT_FIELDS


def is_described(body: object) -> bool:
    schema = DOCUMENT["components"]["schemas"]["PlaceOrder"]
    return bool(jsonschema_rs.is_valid(schema, body))


def is_well_formed(body: object) -> bool:
    """Whether the parser finds the shape right; rules of the exchange (422) are another matter."""
    try:
        fields = read_fields(json.dumps(body).encode(), commands.PLACE_FIELDS)
        commands.order_symbol(fields, "GOLD")
        commands.place_order(fields, GOLD)
    except Declined as error:
        return error.problem.http_status == 422
    return True


@pytest.mark.parametrize("field", commands.PLACE_FIELDS)
@pytest.mark.parametrize(
    "value",
    [None, True, 1, -1, 0, 2.5, "1", "-1", "1e5", "1e5000", "0.1.2", "", "buy", "SELL", "hold", "Limit", "gtc", [], {}],
    ids=repr,
)
def test_a_body_is_described_exactly_when_its_shape_is_accepted(field: str, value: object) -> None:
    body = {"side": "buy", "price": "1", "quantity": "1", field: value}
    names = field in ("symbol", "account", "client_order_id")
    out_of_range = field in ("price", "quantity") and isinstance(value, int | float) and value <= 0
    if (names and isinstance(value, str)) or out_of_range:
        return  # refused with 422 by name: the document is stricter than the shape
    assert is_described(body) == is_well_formed(body)


def test_the_examples_are_orders() -> None:
    for operation in ("post /orders", "put /orders/{order_id}", "put /instruments/{symbol}"):
        method, path = operation.split()
        content = DOCUMENT["paths"][path][method]["requestBody"]["content"]["application/json"]
        schema = DOCUMENT["components"]["schemas"][content["schema"]["$ref"].rsplit("/", 1)[-1]]
        for example in content["examples"].values():
            jsonschema_rs.validate(schema, example["value"])
