"""Commits as text and as JSON: stories line by line, then journals with everything that an exchange can do in them."""

import json

import msgspec
import pytest

from cli.journal import Printer, _needles
from cli.journal_text import Scale, Wanted, as_json, as_text, conclusion, parts, state_after
from contracts.messages import (
    AllOrNothing,
    AmendOrder,
    CancelOrder,
    CancelOrders,
    Commit,
    DefineInstrument,
    OrderType,
    PlaceOrder,
    SetKillSwitch,
    Side,
    Terms,
    TimeInForce,
)
from contracts.orders import Standing, concerned
from contracts.views import Instrument
from recorder.rows import Fold
from tests.support.journals import Journal
from tests.support.rich_journals import rich_journal

BTC_USD = Instrument("BTC-USD", "0.01", "0.001", 1, 10**6)
SCALE = Scale([BTC_USD])
ALL = Wanted()


@pytest.fixture
def journal() -> Journal:
    made = Journal()
    made.play(DefineInstrument("BTC-USD", "0.01", "0.001"))
    return made


def bid(price: int, quantity: int, **more: object) -> PlaceOrder:
    return PlaceOrder("BTC-USD", Side.BUY, OrderType.LIMIT, quantity, price, **more)


def ask(price: int | None, quantity: int, **more: object) -> PlaceOrder:
    kind = OrderType.MARKET if price is None else OrderType.LIMIT
    return PlaceOrder("BTC-USD", Side.SELL, kind, quantity, price, **more)


def shown(journal: Journal, wanted: Wanted = ALL, scale: Scale = SCALE) -> list[str]:
    """Of the last commit, without its heading."""
    return as_text(journal.written[-1].commit, wanted, scale)[1:]


def test_a_heading_has_sequence_and_time(journal: Journal) -> None:
    assert as_text(journal.written[0].commit, ALL, SCALE)[0] == "1  2023-11-14 22:13:20.001000"
    assert as_text(journal.barrier().commit, ALL, SCALE) == ["2  2023-11-14 22:13:20.002000  matcher epoch 1 begins"]


def test_orders_and_their_trades(journal: Journal) -> None:
    journal.play(bid(9950, 1500, account="anna", client_order_id="x-1"))
    assert shown(journal) == [
        "  place buy 1.500 BTC-USD at 99.50, account anna, client order id x-1",
        "    order 1 accepted",
    ]
    journal.play(ask(None, 2000, time_in_force=TimeInForce.IOC))
    assert shown(journal) == [
        "  place sell 2.000 BTC-USD at market, IOC, account default",
        "    order 2 accepted",
        "    trade 1: 1.500 BTC-USD at 99.50; order 2 takes from order 1",
        "    order 2 canceled (no liquidity), 0.500 of 2.000 BTC-USD unfilled",
    ]


def test_what_an_order_may_say_besides(journal: Journal) -> None:
    terms = Terms(stop_price=9900, display_quantity=10, expires_at=1_700_000_100_000_000)
    command = bid(9950, 1500, terms=terms, time_in_force=TimeInForce.GTD, post_only=True)
    commit = msgspec.structs.replace(journal.written[0].commit, commands=(command,))
    assert as_text(commit, ALL, SCALE)[1] == (
        "  place buy 1.500 BTC-USD at 99.50, stop 99.00, GTD, until 2023-11-14 22:15:00.000000, post only, "
        "showing 0.010, account default"
    )


def test_changes_of_an_order(journal: Journal) -> None:
    journal.play(bid(9950, 1500))
    journal.play(AmendOrder(1, price=9960, quantity=1000))
    assert shown(journal) == [
        "  amend order 1 to price 99.60, quantity 1.000",
        "    order 1 amended: 1.000 BTC-USD at 99.60, loses its place",
    ]
    journal.play(CancelOrder(1))
    assert shown(journal) == [
        "  cancel order 1",
        "    order 1 canceled (requested), 1.000 of 1.000 BTC-USD unfilled",
    ]


def test_an_all_or_nothing_batch_shows_its_items(journal: Journal) -> None:
    journal.play(AllOrNothing((bid(9950, 1500), bid(9940, 1))))
    assert shown(journal) == [
        "  all or nothing, 2 items",
        "    place buy 1.500 BTC-USD at 99.50, account default",
        "      order 1 accepted",
        "    place buy 0.001 BTC-USD at 99.40, account default",
        "      order 2 accepted",
    ]
    assert shown(journal, Wanted(order_id=2)) == [
        "    place buy 0.001 BTC-USD at 99.40, account default",
        "      order 2 accepted",
    ]


def test_what_administers(journal: Journal) -> None:
    assert shown(journal)[0].startswith(
        "  define instrument BTC-USD, tick size 0.01, lot size 0.001, min quantity 0.001"
    )
    journal.play(bid(9950, 1500, account="anna"))
    journal.play(CancelOrders(accounts=("ben",), symbol="BTC-USD", side=Side.BUY))
    assert shown(journal)[0] == "  cancel all buy orders of ben in BTC-USD"
    journal.play(SetKillSwitch("anna", True))
    assert shown(journal) == [
        "  engage the kill switch of anna",
        "    kill switch of anna engaged",
        "    order 1 canceled (kill switch), 1.500 of 1.500 BTC-USD unfilled",
    ]


def test_only_what_concerns_an_order_or_a_symbol_is_shown(journal: Journal) -> None:
    journal.play(DefineInstrument("ETH-USD", "0.01", "0.001"))
    journal.play(bid(9950, 1500), bid(9940, 1))
    assert shown(journal, Wanted(order_id=2)) == [
        "  place buy 0.001 BTC-USD at 99.40, account default",
        "    order 2 accepted",
    ]
    commit = journal.written[-1].commit
    assert as_text(commit, Wanted(order_id=3), SCALE) == []
    assert as_text(commit, Wanted(symbol="ETH-USD"), SCALE) == []
    assert len(as_text(commit, Wanted(symbol="BTC-USD"), SCALE)) == 5


def test_without_the_instrument_ticks_and_lots_say_so(journal: Journal) -> None:
    journal.play(bid(9950, 1500))
    assert shown(journal, scale=Scale())[0] == "  place buy 1500 lots BTC-USD at 9950 ticks, account default"
    known = Scale()
    known.learn(journal.written[0].commit)
    assert shown(journal, scale=known)[0] == "  place buy 1.500 BTC-USD at 99.50, account default"


def test_json_has_decimals_and_the_names_of_the_messages(journal: Journal) -> None:
    journal.play(bid(9950, 1500, account="anna"))
    written = journal.written[-1]
    assert as_json(written.commit, written.hash, ALL, SCALE) == {
        "sequence": 2,
        "time": "2023-11-14T22:13:20.002000Z",
        "hash": written.hash.hex(),
        "matcher_epoch": 0,
        "barrier": False,
        "commands": [
            {
                "command": {
                    "command": "place",
                    "symbol": "BTC-USD",
                    "side": "buy",
                    "type": "limit",
                    "quantity": "1.500",
                    "price": "99.50",
                    "time_in_force": "GTC",
                    "post_only": False,
                    "account": "anna",
                },
                "events": [{"event": "accepted", "order_id": 1}],
                "levels": [{"symbol": "BTC-USD", "side": "buy", "price": "99.50", "quantity": "1.500"}],
            }
        ],
    }


@pytest.mark.parametrize("seed", range(3))
def test_every_commit_can_be_shown(seed: int) -> None:
    """Goal: nothing that the journal can hold is without words. Method: random journals over all commands."""
    journal, _ = rich_journal(seed)
    scale = Scale()
    for commit, _, digest in journal.written:
        scale.learn(commit)
        text = "\n".join(as_text(commit, ALL, scale))
        assert " lots" not in text
        assert " ticks" not in text
        assert "None" not in text
        json.dumps(as_json(commit, digest, ALL, scale))
        assert len(parts(commit, ALL)) >= len(commit.commands)


@pytest.mark.parametrize("seed", range(2))
def test_an_order_is_found_wherever_it_is(seed: int, capsys: pytest.CaptureFixture[str]) -> None:
    """Goal: looking for bytes before decoding misses nothing, and an order ends as the recorder has it.

    Method: each order of random journals, beside a plain look at every event, and beside the recorder's fold.
    """
    journal, _ = rich_journal(seed, commands=300)
    fold = Fold()
    for commit, payload, digest in journal.written:
        fold.add(commit, payload, digest)
    for order_id, row in fold.orders.items():
        wanted = Wanted(order_id=order_id)
        printer, standing = Printer(wanted, SCALE, as_lines=True), None
        capsys.readouterr()
        for commit, payload, _ in journal.written:
            printer.take(commit.sequence, payload)
            standing = state_after(standing, order_id, commit)
        found = [json.loads(line)["sequence"] for line in capsys.readouterr().out.splitlines()]
        assert found == [commit.sequence for commit, _, _ in journal.written if _is_in(order_id, commit)]
        assert isinstance(standing, Standing)
        assert (standing.status, standing.reason) == (row.status, row.reason)
        assert standing.order.filled_quantity == row.filled_quantity


def _is_in(order_id: int, commit: Commit) -> bool:
    return any(order_id in concerned(event) for outcome in commit.outcomes for event in outcome.events)


def test_without_instruments_every_commit_is_decoded_so_that_they_are_learned(journal: Journal) -> None:
    journal.play(bid(9950, 1500))
    assert _needles(Wanted(order_id=300)) == [b"\xcd\x01\x2c"]
    printer = Printer(Wanted(order_id=300), scale := Scale(), as_lines=False)
    for commit, payload, _ in journal.written:
        assert b"\xcd\x01\x2c" not in payload
        printer.take(commit.sequence, payload)
    assert scale.price(9950, "BTC-USD") == "99.50"


def test_the_end_says_what_has_become_of_the_order(journal: Journal) -> None:
    journal.play(bid(9950, 1500))
    journal.play(ask(9950, 500), ask(9940, 250))
    standing: Standing | None = None
    for commit, _, _ in journal.written:
        standing = state_after(standing, 1, commit)
    assert standing is not None
    expected = "order 1 is partially filled: 0.750 of 1.500 BTC-USD filled at 99.50 on average"
    assert conclusion(standing, SCALE) == expected
    journal.play(CancelOrder(1))
    standing = state_after(standing, 1, journal.written[-1].commit)
    assert standing is not None
    assert conclusion(standing, SCALE).startswith("order 1 is canceled (requested): 0.750 of 1.500")
