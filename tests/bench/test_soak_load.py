"""What the load of a soak sends: orders of ever new ids, and cancelations that keep the exchange at its size."""

import msgspec
import pytest

from bench.crowd import Crowd
from bench.flow import LISTING
from bench.soak import Search
from bench.soak_load import NATS, REST, WEBSOCKET, Source, Way
from contracts.messages import CancelOrder, Commit, OrderAccepted, Outcome, PlaceOrder
from contracts.views import defined_instrument
from entry.bodies import read_fields
from entry.commands import PLACE_FIELDS, place_order
from matcher.engine import Engine


class Exchange(Crowd):
    """An engine that answers at once."""

    def __init__(self) -> None:
        super().__init__()
        self.engine = Engine()
        self.engine.apply(LISTING, 0)
        self.pairs: list[tuple[PlaceOrder | CancelOrder, Outcome]] = []
        self.requests: list[bytes] = []

    def send(self, number: int, payload: bytes) -> None:
        self.requests.append(payload)
        command = read(payload)
        outcome = self.engine.apply(command, 0)
        assert isinstance(outcome, Outcome), outcome
        self.pairs.append((command, outcome))
        first = outcome.events[0]
        order_id = first.order_id if isinstance(first, OrderAccepted) else command.order_id  # type: ignore[union-attr]
        self.answered(number, 201, b'{"order_id":%d}' % order_id)


def read(payload: bytes) -> PlaceOrder | CancelOrder:
    if payload.startswith(b"DELETE"):
        return CancelOrder(int(payload.split(b" ")[1].rpartition(b"/")[2]))
    body = payload.partition(b"\r\n\r\n")[2] if payload.startswith(b"POST") else payload
    if body.startswith(b'"op":"cancel"'):
        return CancelOrder(msgspec.json.decode(b"{" + body)["order_id"])
    body = body.replace(b'"op":"place",', b"{")
    return place_order(read_fields(body, PLACE_FIELDS), defined_instrument(LISTING))


@pytest.mark.parametrize(("way", "cancels"), [(REST, True), (NATS, False), (WEBSOCKET, True)])
def test_orders_and_cancelations_keep_the_book_at_its_size(way: Way, cancels: bool) -> None:
    exchange = Exchange()
    source = Source("REST", exchange, way, rate=1_000)
    source.send_due(0.0, 5.0)
    before = exchange.engine.resting_orders
    source.send_due(0.0, 20.0)
    assert exchange.engine.resting_orders < before + 150
    assert any(isinstance(command, CancelOrder) for command, _ in exchange.pairs) is cancels
    names = [command.client_order_id for command, _ in exchange.pairs if isinstance(command, PlaceOrder)]
    assert len(set(names)) == len(names) > 15_000


def test_it_sends_what_is_due_and_counts_from_when_it_was() -> None:
    exchange = Exchange()
    source = Source("REST", exchange, REST, rate=100)
    source.send_due(50.0, 50.1)
    source.send_due(50.0, 50.1)
    source.send_due(50.0, 50.25)
    assert list(exchange.tally.due) == pytest.approx([50 + each / 100 for each in range(25)])


def test_refusals_are_counted_and_the_first_are_kept() -> None:
    crowd = Exchange()
    source = Source("REST", crowd, REST)
    number = crowd.tally.begin(0.0)
    source.order_ids.append(0)
    crowd.answered(number, 503, b"overloaded")
    assert (source.refused[503], source.refusals) == (1, [b"503 overloaded"])


def searched(source: Source, pairs: list[tuple[PlaceOrder | CancelOrder, Outcome]]) -> list[str]:
    search = Search([source])
    commands, outcomes = tuple(command for command, _ in pairs), tuple(outcome for _, outcome in pairs)
    search.look_at(Commit(2, "epoch", 1, 1, b"", 0, commands, outcomes, None))
    return search.wrong()


def test_an_answered_order_that_is_lost_or_there_twice_is_found() -> None:
    exchange = Exchange()
    source = Source("REST", exchange, REST, rate=100)
    source.send_due(0.0, 1.0)
    assert searched(source, exchange.pairs) == []
    assert searched(source, exchange.pairs[1:]) == ["REST-0 was answered with order 1, the journal has none"]
    assert searched(source, [*exchange.pairs, exchange.pairs[3]]) == ["REST-3 is in the journal twice"]
    source.order_ids[5] = 77
    assert searched(source, exchange.pairs) == ["REST-5 was answered with order 77, the journal has 6"]
