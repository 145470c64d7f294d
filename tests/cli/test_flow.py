"""What a recorded order flow means: which events are placed and canceled, and what is counted instead."""

import pytest

from cli.flow import BadRow, Cancel, Done, Flow, FlowEvent, Kind, Place, Refused, Wish, parse_row
from contracts.messages import Side


def event(reference: str, kind: Kind, volume: int = 150_000_000) -> FlowEvent:
    return FlowEvent(reference, 0, "236.47", volume, kind, Side.BUY)


def placed(flow: Flow, reference: str, order_id: int | None = 1) -> None:
    (place,) = flow.plan(event(reference, Kind.CREATED))
    assert isinstance(place, Place)
    flow.record(place, Done(order_id, sequence=5) if order_id else Refused("quantity_out_of_range"))


def test_a_row_becomes_an_event() -> None:
    row = ["7", "1430438404518", "1430438404000", "236.47", "200000000", "created", "ask"]
    assert parse_row(row) == FlowEvent("7", 1430438404518, "236.47", 200000000, Kind.CREATED, Side.SELL)


@pytest.mark.parametrize(
    ("position", "value", "what"),
    [(4, "-1", "volume"), (4, "1.5", "volume"), (1, "", "timestamp"), (5, "eaten", "action"), (6, "up", "direction")],
)
def test_a_row_that_makes_no_sense_is_named(position: int, value: str, what: str) -> None:
    row = ["7", "1430438404518", "1430438404000", "236.47", "200000000", "created", "ask"]
    row[position] = value
    with pytest.raises(BadRow, match=what):
        parse_row(row)


def test_a_short_row_makes_no_sense() -> None:
    with pytest.raises(BadRow, match="2 values instead of 7"):
        parse_row(["7", "1"])


def test_created_is_placed_with_its_volume_as_a_decimal() -> None:
    assert Flow().plan(event("7", Kind.CREATED)) == [Place("7", Side.BUY, "236.47", "1.50000000")]


def test_deleted_with_volume_left_is_canceled_once_the_order_has_an_id() -> None:
    flow = Flow()
    (place,) = flow.plan(event("7", Kind.CREATED))
    (wish,) = flow.plan(event("7", Kind.DELETED))
    assert isinstance(place, Place)
    assert isinstance(wish, Wish)
    assert flow.must_wait(wish)
    flow.record(place, Done(order_id=41, sequence=5, trades=2))
    assert not flow.must_wait(wish)
    assert flow.cancel(wish) == Cancel("7", 41)
    flow.record(Cancel("7", 41), Done(41, sequence=6))
    assert (flow.tally.placed, flow.tally.trades, flow.tally.canceled) == (1, 2, 1)
    assert (flow.tally.first_sequence, flow.tally.last_sequence, flow.tally.sent) == (5, 6, 2)


def test_what_happens_by_itself_or_cannot_happen_here_is_counted() -> None:
    flow = Flow()
    placed(flow, "7")
    for each in (
        event("7", Kind.CHANGED),
        event("7", Kind.DELETED, volume=0),
        event("8", Kind.CREATED, volume=0),
        event("7", Kind.CREATED),
        event("9", Kind.DELETED),
    ):
        assert flow.plan(each) == []
    assert dict(flow.tally.skipped) == {
        "changed": 1,
        "filled at its source": 1,
        "created without volume": 1,
        "created twice": 1,
        "never created here": 1,
    }
    assert flow.tally.events == 6


def test_an_order_whose_deletion_came_first_is_placed_and_canceled() -> None:
    flow = Flow()
    assert flow.plan(event("7", Kind.DELETED)) == []
    assert flow.plan(event("7", Kind.CREATED)) == [Place("7", Side.BUY, "236.47", "1.50000000"), Wish("7")]
    assert +flow.tally.skipped == {}


def test_an_order_that_was_refused_is_not_canceled() -> None:
    flow = Flow()
    placed(flow, "7", order_id=None)
    (wish,) = flow.plan(event("7", Kind.DELETED))
    assert isinstance(wish, Wish)
    assert flow.cancel(wish) is None
    assert flow.tally.refused == {"quantity_out_of_range": 1}
    assert flow.tally.skipped == {"deleted, but refused when placed": 1}


def test_a_duplicate_of_itself_is_the_order_that_is_there() -> None:
    flow = Flow()
    (place,) = flow.plan(event("7", Kind.CREATED))
    assert isinstance(place, Place)
    flow.record(place, Refused("duplicate_client_order_id", order_id=41))
    assert flow.cancel(Wish("7")) == Cancel("7", 41)
    assert (flow.tally.placed, flow.tally.placed_before) == (0, 1)


@pytest.mark.parametrize("reason", ["unknown_order", "order_not_resting"])
def test_canceling_a_filled_order_is_an_outcome_not_an_error(reason: str) -> None:
    flow = Flow()
    placed(flow, "7", 41)
    flow.record(Cancel("7", 41), Refused(reason))
    assert (flow.tally.gone_before, flow.tally.refused) == (1, {})
