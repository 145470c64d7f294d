"""The book of the page's load keeps its size, never crosses, and each request is one that the exchange takes."""

import random
from itertools import islice

from bench.page_load import Change, Sent, Wandering


def prices(book: object) -> list[int]:
    return [price for price, _ in book]  # type: ignore[attr-defined]


def test_the_book_keeps_its_size_and_never_crosses() -> None:
    wandering = Wandering("X", 50, random.Random(1))
    orders = wandering.fill()
    assert len(orders) == 100
    changes = wandering.changes()
    for _ in range(200):
        for _ in islice(changes, 40):
            pass
        bids, asks = prices(wandering.bids), prices(wandering.asks)
        assert (len(bids), len(asks)) == (50, 50)
        assert bids == sorted(bids, reverse=True)
        assert asks == sorted(asks)
        assert bids[0] < asks[0]


def test_only_orders_that_rest_are_amended_or_canceled() -> None:
    wandering = Wandering("X", 5, random.Random(2))
    resting = {each["client_order_id"] for each in wandering.fill()}
    for change in islice(wandering.changes(), 2_000):
        request = change.request
        name = request.get("client_order_id")
        if request["op"] == "place" and name is not None:
            resting.add(name)
        elif request["op"] == "cancel":
            resting.remove(name)
        elif request["op"] == "amend":
            assert name in resting


def test_eight_changes_in_ten_are_of_a_quantity() -> None:
    wandering = Wandering("X", 5, random.Random(3))
    wandering.fill()
    requests = [change.request for change in islice(wandering.changes(), 400)]
    operations = [each["op"] for each in requests]
    assert operations.count("amend") == 320
    assert len([each for each in requests if each.get("time_in_force") == "IOC"]) == 40


def test_what_builds_on_an_order_waits_for_its_answers() -> None:
    sent = Sent(requests=3, waiting={2: "bid", 3: "ask"})
    assert not sent.may_send(Change({}, "bid", after="bid"))
    assert sent.may_send(Change({}, "new", after="gone"))
    assert sent.may_send(Change({}))
    assert sent.answers == 1


def test_a_level_moves_only_when_the_one_in_its_way_is_gone() -> None:
    wandering = Wandering("X", 5, random.Random(4))
    wandering.fill()
    steps = [each for each in islice(wandering.changes(), 400) if each.request["op"] != "amend" and each.name]
    for gone, coming, _, _ in zip(*[iter(steps)] * 4, strict=True):
        assert (gone.request["op"], coming.request["op"]) == ("cancel", "place")
        assert coming.after == gone.name
