"""Goal: what a client of a chaos run asks for in JSON is the command that it writes down.

Method: each body is read as the gateway reads it, and must give that command.
"""

import json
import random

import pytest

from chaos.records import Done, NotDone, Refused
from chaos.workload import SYMBOLS, Wish, Wishes, result_of
from contracts.messages import AllOrNothing, AmendOrder, CancelOrder, CancelOrders, PlaceOrder
from contracts.views import Instrument
from entry.bodies import read_fields
from entry.commands import AMEND_FIELDS, PLACE_FIELDS, amend_order, place_order

NOW = 1_700_000_000_000_000
INSTRUMENTS = {symbol: Instrument(symbol, "0.01", "0.00000001", 1, 10**12) for symbol in SYMBOLS}


def placed(body: dict[str, object]) -> PlaceOrder:
    fields = read_fields(json.dumps(body).encode(), PLACE_FIELDS)
    return place_order(fields, INSTRUMENTS[str(body["symbol"])])


def wishes(count: int) -> list[Wish]:
    made = Wishes("anna", random.Random(4), open=list(range(1, 400)))
    return [made.next(NOW) for _ in range(count)]


def test_bodies_say_what_the_commands_say() -> None:
    seen = set()
    for wish in wishes(2000):
        seen.add(wish.action)
        body = wish.body
        match wish.command:
            case _ if wish.items:
                assert tuple(placed(item["place"]) for item in body["items"]) == wish.items
            case PlaceOrder():
                assert placed(body) == wish.command
            case AmendOrder(order_id=order_id):
                fields = {name: value for name, value in body.items() if name != "order_id"}
                read = read_fields(json.dumps(fields).encode(), AMEND_FIELDS)
                assert amend_order(order_id, read, INSTRUMENTS[SYMBOLS[0]]) == wish.command
            case AllOrNothing(items=items):
                for item, told in zip(items, body["items"], strict=True):
                    if isinstance(item, PlaceOrder):
                        assert placed(told["place"]) == item
                    else:
                        assert told == {"cancel": {"order_id": item.order_id}}
            case CancelOrder(order_id=order_id):
                assert body == {"order_id": order_id}
            case CancelOrders(accounts=accounts):
                assert accounts == (body["account"],)
    assert seen == {"place", "cancel", "amend", "batch", "cancel_all", "cancel_all_after"}


def test_no_two_orders_have_one_client_order_id() -> None:
    names = [wish.command.client_order_id for wish in wishes(500) if isinstance(wish.command, PlaceOrder)]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("status", "body", "meant"),
    [
        (201, {"sequence": 7}, Done(7, {"sequence": 7})),
        (503, {"code": "overloaded"}, NotDone("overloaded")),
        (503, {"code": "matcher_unavailable"}, NotDone("matcher_unavailable")),
        (503, {"code": "journal_unavailable"}, None),
        (504, {"code": "result_unknown"}, None),
        (500, {"code": "internal_error"}, None),
        (409, {"code": "order_not_resting", "sequence": 3, "order_id": 4}, Refused("order_not_resting", 3, 4)),
    ],
)
def test_what_an_answer_means(status: int, body: dict[str, object], meant: object) -> None:
    assert result_of(status, body) == meant
