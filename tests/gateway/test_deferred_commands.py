"""Deferred commands as values: which requests ask for it, ids and keys, who may see them, and what answers mean."""

import json

import msgspec
import pytest

from contracts.keys import OPEN, PUBLIC, Access, Scope
from entry.bodies import read_fields
from gateway.deferred_commands import (
    BATCH,
    PLACE,
    REPLACE,
    DeferredCommand,
    client_key,
    delay_seconds,
    derived_id,
    fingerprint,
    may_see,
    nothing_was_done,
    owner_of,
    prefers_async,
    problem_codes,
    with_client_order_ids,
    write_fields,
)

CANCEL = ("DELETE", "/orders/{order_id:str}")
READ = frozenset({Scope.READ})
TRADE = frozenset({Scope.TRADE})


def command(access: Access = OPEN, **fields: object) -> DeferredCommand:
    given: dict[str, object] = {
        "command_id": "c",
        "created_at": 1,
        "method": "DELETE",
        "route": "/orders/{order_id:str}",
        "path_params": {"order_id": "7"},
        "query": "",
        "body": "",
        "fingerprint": "f",
        "journal_sequence": 3,
    }
    return DeferredCommand(access=access, **(given | fields))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("headers", "wanted"),
    [
        ([], False),
        (["respond-async"], True),
        (["Respond-Async"], True),
        (["return=minimal", "respond-async; wait=10"], True),
        (["wait=10, respond-async"], True),
        (['foo="respond-async"'], False),
        (['foo="a,respond-async"'], False),
        (['foo="a,b", respond-async'], True),
        (["respond-asynchronously"], False),
        (["handling=lenient"], False),
    ],
)
def test_prefer(headers: list[str], wanted: bool) -> None:
    assert prefers_async(headers) is wanted


def test_ids_differ_by_owner_account_and_key() -> None:
    ids = {derived_id(owner, account, key) for owner in ("*", "a") for account in ("", "b") for key in ("k", "l")}
    assert len(ids) == 8
    assert derived_id("ab", "", "k") != derived_id("a", "b", "k")
    assert derived_id("*", "", "k") == derived_id("*", "", "k")


def test_a_fingerprint_is_of_everything_that_was_asked_for() -> None:
    asked = [
        ("POST", "/orders", "{}"),
        ("PUT", "/orders", "{}"),
        ("POST", "/orders?a=1", "{}"),
        ("POST", "/orders", ""),
    ]
    assert len({fingerprint(*each) for each in asked}) == 4


def fields(body: str) -> dict[str, object]:
    return read_fields(body.encode(), frozenset(json.loads(body)))


def test_every_placed_order_gets_a_client_order_id() -> None:
    assert with_client_order_ids(PLACE, {}, "c", None) == {"client_order_id": "c"}
    assert with_client_order_ids(PLACE, {}, "c", "key") == {"client_order_id": "key"}
    assert with_client_order_ids(REPLACE, {"client_order_id": "mine"}, "c", "mine") == {"client_order_id": "mine"}
    assert with_client_order_ids(CANCEL, {}, "c", "key") == {}
    items = [
        {"place": {"side": "buy"}},
        {"cancel": {"order_id": "1"}},
        {"place": {"client_order_id": "x"}},
        {"place": {}},
    ]
    named = with_client_order_ids(BATCH, {"items": items, "all_or_nothing": True}, "c", "key")
    assert named == {
        "items": [
            {"place": {"side": "buy", "client_order_id": "c-0"}},
            {"cancel": {"order_id": "1"}},
            {"place": {"client_order_id": "x"}},
            {"place": {"client_order_id": "c-3"}},
        ],
        "all_or_nothing": True,
    }
    assert "client_order_id" not in items[0]["place"], "what was given is not changed"


@pytest.mark.parametrize("items", ["1", [1], [{"place": 1}], [[]], {}])
def test_a_batch_of_another_shape_is_left_to_its_check(items: object) -> None:
    assert with_client_order_ids(BATCH, {"items": items}, "c", None) == {"items": items}


def test_the_clients_own_id_is_a_key_for_one_order_only() -> None:
    assert client_key(PLACE, {"client_order_id": "a"}) == "a"
    assert client_key(REPLACE, {"client_order_id": "a"}) == "a"
    assert client_key(BATCH, {"client_order_id": "a"}) is None
    assert client_key(PLACE, {}) is None
    assert client_key(PLACE, {"client_order_id": ["a"]}) is None


def test_numbers_are_written_as_they_came() -> None:
    written = '{"a":[1e-7,100.10,true,"1\\u00e9",{"z":1,"y":[]}],"b":null}'
    read = read_fields(b'{"b": 0, "a": [1e-7, 100.10, true, "1\xc3\xa9", {"z": 1, "y": []}]}', "ab")
    assert write_fields({**read, "b": None}) == written.replace('{"z":1,"y":[]}', '{"y":[],"z":1}')


def test_the_same_request_in_another_order_is_the_same() -> None:
    assert write_fields(fields('{"a": 1, "b": "x"}')) == write_fields(fields('{"b": "x",  "a": 1}'))
    assert write_fields(fields('{"a": 1}')) != write_fields(fields('{"a": 1.0}'))


ANNA, BEN, BOTH = (Access(TRADE, accounts) for accounts in (("anna",), ("ben",), ("anna", "ben")))
ADMIN = Access(frozenset({Scope.ADMIN}), ("anna",))


@pytest.mark.parametrize(
    ("reader", "sender", "sees"),
    [
        (OPEN, OPEN, True),
        (OPEN, ANNA, True),
        (ADMIN, OPEN, True),
        (ADMIN, BEN, True),
        (ANNA, ANNA, True),
        (Access(READ, ("anna",)), ANNA, True),
        (BOTH, ANNA, True),
        (ANNA, BOTH, False),
        (ANNA, BEN, False),
        (ANNA, OPEN, False),
        (ANNA, ADMIN, False),
        (Access(TRADE), OPEN, True),
        (PUBLIC, OPEN, False),
        (PUBLIC, ANNA, False),
        (Access(frozenset(), ("anna",)), ANNA, False),
    ],
)
def test_who_sees_whose_commands(reader: Access, sender: Access, sees: bool) -> None:
    assert may_see(reader, command(sender)) is sees


def test_owners() -> None:
    assert owner_of(OPEN) == owner_of(ADMIN) == "*"
    assert owner_of(BOTH) == owner_of(Access(READ, ("ben", "anna"))) != owner_of(ANNA)


def test_a_command_survives_being_stored() -> None:
    stored = command(BOTH, body='{"price":"1é"}', query="a=%20")
    assert msgspec.json.decode(msgspec.json.encode(stored), type=DeferredCommand) == stored


def test_its_address_is_the_one_that_was_asked() -> None:
    assert command().target == "/orders/7"
    assert command(query="account=anna&side=buy").target == "/orders/7?account=anna&side=buy"
    assert command(path_params={"order_id": "a/b?"}).target == "/orders/a%2Fb%3F"


@pytest.mark.parametrize(
    ("status", "body", "codes"),
    [
        (201, '{"order_id": 1, "status": "open"}', []),
        (422, '{"status": 422, "code": "off_tick"}', []),
        (503, '{"status": 503, "code": "overloaded"}', ["overloaded"]),
        (504, '{"status": 504, "code": "result_unknown"}', ["result_unknown"]),
        (500, '{"status": 500, "code": "internal_error"}', ["internal_error"]),
        (200, '{"items": [{"status": 201, "order": {}}, {"status": 422, "problem": {"code": "off_tick"}}]}', []),
        (
            200,
            '{"items": [{"status": 201, "order": {}}, {"status": 503, "problem": {"code": "overloaded"}}]}',
            ["overloaded"],
        ),
    ],
)
def test_which_answers_are_not_the_last_word(status: int, body: str, codes: list[str]) -> None:
    assert list(problem_codes(status, body.encode())) == codes


def test_what_says_that_nothing_was_done() -> None:
    assert nothing_was_done(["overloaded", "matcher_unavailable"])
    assert not nothing_was_done(["overloaded", "result_unknown"])
    assert not nothing_was_done(["internal_error"])


def test_pauses_grow_up_to_a_limit() -> None:
    delays = [delay_seconds(attempt) for attempt in range(1, 2000)]
    assert delays == sorted(delays)
    assert delays[0] == 0.1
    assert delays[-1] == 5.0
