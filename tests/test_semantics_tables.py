"""The tables of docs/semantics.md are true: each cell is tried with the engine.

The rules in between are shown by stories, which the page names; tests/test_docs.py holds that they are there.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from contracts.messages import (
    AdvanceClock,
    AmendOrder,
    CancelOrder,
    DefineInstrument,
    InstrumentStatus,
    OrderAccepted,
    OrderCanceled,
    OrderStatus,
    OrderType,
    Outcome,
    PlaceOrder,
    Refusal,
    Result,
    SetInstrumentStatus,
    Side,
    Terms,
    TimeInForce,
)
from matcher.engine import Engine

PAGE = (Path(__file__).parents[1] / "docs" / "semantics.md").read_text()
NOW, LATER = 1_000_000, 2_000_000
VALUES = {
    "quantity": 5,
    "price": 100,
    "stop_price": 105,
    "display_quantity": 1,
    "protection_price": 120,
    "notional": 1000,
    "post_only": True,
    "expires_at": LATER,
}
"""For a buyer of X, where 3 lots are offered at 110 and nothing has traded."""


def table(head: str) -> list[list[str]]:
    """The rows below the table's head, which begins so."""
    _, _, below = PAGE.partition(f"\n{head}")
    assert below, head
    rows = below.split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def names(cell: str) -> list[str]:
    return re.findall(r"`(\w+)`", cell)


def market() -> Engine:
    engine = Engine()
    engine.apply(DefineInstrument("X", "1", "1", 1, 1000), NOW)
    engine.apply(PlaceOrder("X", Side.SELL, OrderType.LIMIT, 3, 110), NOW)
    return engine


def buy(kind: str, fields: list[str], time_in_force: TimeInForce = TimeInForce.GTC, **other: Any) -> PlaceOrder:
    given = {name: VALUES[name] for name in fields} | other
    order = {name: given.pop(name) for name in ("quantity", "price", "post_only") if name in given}
    order.setdefault("quantity", 0)
    terms = Terms(**given) if given else None
    return PlaceOrder("X", Side.BUY, OrderType(kind), time_in_force=time_in_force, terms=terms, **order)


def refusal(result: Result) -> str | None:
    return result.reason.value if isinstance(result, Refusal) else None


def needed(cell: str) -> list[str]:
    """`quantity` of `quantity` or `notional`."""
    return [name for name in names(cell) if name != "notional"]


def test_the_table_of_types_has_all_of_them() -> None:
    assert [names(row[0]) for row in table("| `type` |")] == [[kind.value] for kind in OrderType]


@pytest.mark.parametrize("row", table("| `type` |"), ids=lambda row: names(row[0])[0])
def test_what_a_type_of_order_has(row: list[str]) -> None:
    (kind,), needs = names(row[0]), needed(row[2])
    assert isinstance(market().apply(buy(kind, needs), NOW), Outcome)
    for missing in needs:
        reason = refusal(market().apply(buy(kind, [name for name in needs if name != missing]), NOW))
        assert reason == ("quantity_out_of_range" if missing == "quantity" else f"{missing}_required")
    for extra in names(row[3]):
        assert isinstance(market().apply(buy(kind, [*needs, extra]), NOW), Outcome), extra
    for extra in names(row[4]):
        fields = [name for name in [*needs, extra] if extra != "notional" or name != "quantity"]
        assert refusal(market().apply(buy(kind, fields), NOW)) == f"{extra}_not_allowed"


def test_a_market_order_has_a_quantity_or_a_notional() -> None:
    assert isinstance(market().apply(buy("market", ["notional"]), NOW), Outcome)
    assert refusal(market().apply(buy("market", ["quantity", "notional"]), NOW)) == "notional_not_allowed"


def times_in_force() -> Iterator[tuple[TimeInForce, str, str]]:
    for row in table("| | `limit` |"):
        for kinds, cell in zip((["limit"], ["market"], ["stop", "stop_limit"]), row[1:], strict=True):
            yield from ((TimeInForce(names(row[0])[0]), kind, cell) for kind in kinds)


def test_the_table_of_times_in_force_has_all_of_them() -> None:
    assert {each for each, _, _ in times_in_force()} == set(TimeInForce)


NEEDS = {"limit": ["price"], "market": [], "stop": ["stop_price"], "stop_limit": ["stop_price", "price"]}


@pytest.mark.parametrize(("time_in_force", "kind", "cell"), list(times_in_force()))
def test_what_a_time_in_force_means(time_in_force: TimeInForce, kind: str, cell: str) -> None:
    """For 5 lots at up to 115, when 3 are there. Refused, canceled with the reason in brackets, or open."""
    fields = [*NEEDS[kind], *(["expires_at"] if time_in_force is TimeInForce.GTD else [])]
    price = {"price": 115} if "price" in fields else {}
    result = market().apply(buy(kind, [*fields, "quantity"], time_in_force, **price), NOW)
    if cell == "refused":
        assert refusal(result) is not None
        return
    assert isinstance(result, Outcome)
    canceled = [event.reason.value for event in result.events if isinstance(event, OrderCanceled)]
    if cell == "as IOC":
        assert canceled == ["no_liquidity"]
    elif cell == "likewise":
        assert canceled == ["fill_or_kill"]
    else:
        assert canceled == re.findall(r"\(`(\w+)`\)", cell)


STATUSES = table("| status |")


def test_the_table_of_statuses_has_all_of_them() -> None:
    assert [names(row[0]) for row in STATUSES] == [[status.value] for status in InstrumentStatus]


by_status = pytest.mark.parametrize("row", STATUSES, ids=lambda row: names(row[0])[0])


def set_to(row: list[str]) -> tuple[Engine, int, Result]:
    """A market with an order that expires, in the row's status; the order's id, and what the change led to."""
    engine = market()
    placed = engine.apply(buy("limit", ["quantity", "price", "expires_at"], TimeInForce.GTD), NOW)
    assert isinstance(placed, Outcome)
    assert isinstance(placed.events[0], OrderAccepted)
    status = InstrumentStatus(names(row[0])[0])
    return engine, placed.events[0].order_id, engine.apply(SetInstrumentStatus("X", status), NOW)


def is_done(engine: Engine, command: PlaceOrder | AmendOrder | CancelOrder) -> bool:
    return isinstance(engine.apply(command, NOW), Outcome)


def reasons(result: Result) -> set[str]:
    assert isinstance(result, Outcome)
    return {event.reason.value for event in result.events if isinstance(event, OrderCanceled)}


@by_status
def test_what_can_be_placed_and_amended_in_a_status(row: list[str]) -> None:
    """`yes`, `no`, or yes as long as nothing trades."""
    engine, order_id, _ = set_to(row)
    _, place, amend, _, trades, _ = row
    assert is_done(engine, buy("limit", ["quantity", "price"])) == (place != "no")
    assert is_done(engine, buy("limit", ["quantity"], price=110)) == (trades == "yes")
    assert is_done(engine, AmendOrder(order_id, quantity=4)) == (amend != "no")
    assert is_done(engine, AmendOrder(order_id, price=120)) == (amend == "yes")


@by_status
def test_what_can_be_canceled_and_expires_in_a_status(row: list[str]) -> None:
    engine, order_id, changed = set_to(row)
    _, _, _, cancel, _, expires = row
    assert reasons(changed) == ({"delisted"} if cancel == "all are canceled" else set())
    assert is_done(engine, CancelOrder(order_id)) == (cancel == "yes")
    engine, _, _ = set_to(row)
    assert reasons(engine.apply(AdvanceClock(), LATER)) == ({"expired"} if expires == "yes" else set())


def test_the_statuses_of_an_order_are_named() -> None:
    for status in OrderStatus:
        assert f"`{status.value}`" in PAGE
