"""The matcher as a process on a real nats-server: requests in, commits on the journal, answers out."""

import asyncio
import json
import re
import socket

import pytest
from msgspec.structs import replace

from contracts.messages import (
    MAX_COMMANDS,
    AdvanceClock,
    AnswerPart,
    CancelAllAfter,
    CancelAllElapsed,
    CancelOrder,
    CancelReason,
    DefineInstrument,
    OrderAccepted,
    OrderCanceled,
    Outcome,
    Refusal,
    RejectReason,
    Repeated,
    RequestRefusal,
    RequestRefused,
    Side,
    Terms,
    TimeInForce,
    TradeExecuted,
)
from contracts.subjects import JOURNAL, MATCHER_INSTRUMENTS, MATCHER_ORDER, MATCHER_TAKEN_OVER
from runtime.clock import now
from tests.support.matchers import Matchers, Unanswered, client_of, order, order_id_of
from tests.support.prometheus import get
from tests.support.proxy import acknowledgements, proxy_to
from tests.support.servers import NatsServer

pytestmark = pytest.mark.stack


async def test_an_order_is_in_the_journal_when_it_is_answered(nats_server: NatsServer, matchers: Matchers) -> None:
    matchers.start_serving(nats_server)
    async with client_of(nats_server) as client:
        (sold,) = await client.submit(order(Side.SELL, quantity=10))
        (bought,) = await client.submit(order(Side.BUY, quantity=4), order(quantity=0))
        journal = await client.journal()
    outcome, refusal = bought.results
    assert isinstance(outcome, Outcome)
    assert [type(event) for event in outcome.events] == [OrderAccepted, TradeExecuted]
    assert refusal == Refusal(RejectReason.QUANTITY_OUT_OF_RANGE, "quantity")
    for part, expected in ((sold, sold.results), (bought, (outcome,))):
        commit = journal.commits[part.sequence - 1]
        assert (commit.outcomes, commit.time) == (expected, part.time)


async def test_the_journal_begins_with_a_barrier_and_the_default_instrument(
    nats_server: NatsServer, matchers: Matchers
) -> None:
    first = matchers.start_serving(nats_server, default_instrument="ETH-EUR")
    async with client_of(nats_server) as client:
        await client.until_listed()
    first.kill()
    second = matchers.start_serving(nats_server, default_instrument="ETH-EUR")
    async with client_of(nats_server) as client:
        status = await client.status()
        listed = json.loads((await client.connection.request(MATCHER_INSTRUMENTS, b"{}")).data)
        journal = await client.journal()
    barrier, listing, second_barrier = journal.commits
    assert (barrier.is_barrier, barrier.matcher_epoch, barrier.commands) == (True, 1, ())
    assert listing.commands == (DefineInstrument("ETH-EUR", "0.01", "0.00000001"),)
    assert (second_barrier.is_barrier, second_barrier.matcher_epoch) == (True, 2)
    assert [item["symbol"] for item in listed["items"]] == ["ETH-EUR"]
    assert status == {
        "sequence": 3,
        "matcher_epoch": 2,
        "journal_epoch": barrier.journal_epoch,
        "resting_orders": 0,
        "backlog": 0,
        "snapshot": None,
        "serving": True,
        "host": socket.gethostname(),
        "pid": second.process.pid,
    }


async def test_a_request_that_cannot_be_read_is_answered(nats_server: NatsServer, matchers: Matchers) -> None:
    matchers.start_serving(nats_server)
    async with client_of(nats_server) as client:
        await client.submit(order())  # so that no commit of the matcher's own is on its way
        before = await client.status()
        too_many = await client.request([order()] * (MAX_COMMANDS + 1))
        nothing = await client.request([])
        assert isinstance(too_many, RequestRefused)
        assert too_many.reason is RequestRefusal.TOO_MANY_COMMANDS
        assert isinstance(nothing, RequestRefused)
        assert nothing.reason is RequestRefusal.MALFORMED
        assert await client.status() == before


async def test_many_requests_share_commits(nats_server: NatsServer, matchers: Matchers) -> None:
    matchers.start_serving(nats_server)
    async with client_of(nats_server) as client:
        answers = await asyncio.gather(*[client.submit(order(client_order_id=f"c-{number}")) for number in range(500)])
        journal = await client.journal()
    assert len(journal.commits) < 250
    placed = journal.outcomes_by_client_order_id()
    for number, (part,) in enumerate(answers):
        assert placed[f"c-{number}"] == [(part.sequence, part.results[0])]


async def test_the_state_hash_is_that_of_replaying_the_journal(nats_server: NatsServer, matchers: Matchers) -> None:
    matchers.start_serving(nats_server)
    async with client_of(nats_server) as client:
        await client.submit(*[order(side, 100 + number) for number in range(10) for side in Side])
        found = await client.state_hash()
        journal = await client.journal()
    assert found["sequence"] == journal.replay.chain.sequence
    assert found["hash"] == journal.replay.engine.state_hash().hex()


async def test_a_stop_finishes_what_was_sent_and_the_next_start_goes_on(
    nats_server: NatsServer, matchers: Matchers
) -> None:
    matcher = matchers.start_serving(nats_server)
    async with client_of(nats_server) as client:
        requests = [asyncio.create_task(client.submit(order(client_order_id=f"c-{number}"))) for number in range(300)]
        await asyncio.wait(requests, return_when=asyncio.FIRST_COMPLETED)
        matcher.terminate()
        answered = await asyncio.gather(*requests, return_exceptions=True)
        assert matcher.exit_code() == 0, matcher.output
        placed = (await client.journal()).outcomes_by_client_order_id()
        assert len([each for each in answered if not isinstance(each, BaseException)]) == len(placed)
        matchers.start_serving(nats_server)
        (again,) = await client.submit(order(client_order_id="c-0"))
    assert again.results == (Repeated(order_id_of(placed["c-0"][0][1]), placed["c-0"][0][0]),)


async def test_a_stop_does_not_wait_for_a_server_that_is_gone(nats_server: NatsServer, matchers: Matchers) -> None:
    matcher = matchers.start_serving(nats_server)
    nats_server.kill()
    matcher.terminate()
    assert matcher.exit_code() == 0, matcher.output


async def test_a_stop_does_not_wait_for_a_commit_that_cannot_be_written(
    nats_server: NatsServer, matchers: Matchers
) -> None:
    async with proxy_to(nats_server) as proxy, client_of(nats_server) as client:
        matcher = matchers.start(nats_server, nats_url=proxy.url)
        await client.until_served()
        proxy.losing = acknowledgements
        waiting = asyncio.create_task(client.submit(order(), timeout=1))
        await proxy.until_lost(1)
        proxy.flowing.clear()
        matcher.terminate()
        assert await asyncio.to_thread(matcher.exit_code) == 0
        assert "stopping before everything is answered" in matcher.output
        with pytest.raises(Unanswered):
            await waiting


async def test_overload_is_answered_at_once_and_passes(nats_server: NatsServer, matchers: Matchers) -> None:
    """The commit in flight gets no acknowledgement, so requests pile up; then it does, and all are answered.

    Whoever looks at the metrics meanwhile sees why.
    """
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    async with proxy_to(nats_server) as proxy, client_of(nats_server) as client:
        matchers.start(nats_server, nats_url=proxy.url, backlog_commands=1000, metrics_port=port)
        await client.until_served()
        (first,) = await client.submit(order())
        proxy.losing = acknowledgements
        piled_up = [asyncio.create_task(client.submit(order()))]
        await proxy.until_lost(1)
        piled_up += [asyncio.create_task(client.submit(*[order()] * MAX_COMMANDS)) for _ in range(3)]
        await client.until(lambda status: status["backlog"] == 1000)
        refused = await client.request([order()])
        assert isinstance(refused, RequestRefused)
        assert refused.reason is RequestRefusal.OVERLOADED
        shown = await asyncio.to_thread(get, f"http://127.0.0.1:{port}/metrics")
        for each in ("turned_away_total 1.0", "backlog_commands 1000.0", "backlog_room_commands 1000.0"):
            assert f"\npricetime_matcher_{each}\n" in shown
        assert "\npricetime_matcher_commit_age_seconds 0.0\n" not in shown
        canceling = asyncio.create_task(client.submit(CancelOrder(order_id_of(first.results[0]))))
        proxy.losing = None
        answers: list[tuple[AnswerPart, ...]] = await asyncio.gather(*piled_up)
        (canceled,) = await canceling
        after = await asyncio.to_thread(get, f"http://127.0.0.1:{port}/metrics")
        journal = await client.journal()
    assert all(isinstance(result, Outcome) for answer in answers for part in answer for result in part.results)
    assert isinstance(canceled.results[0], Outcome)
    requests, refusals, answered = (
        float(re.findall(rf'^pricetime_nats_{each}{{subject="orders.submit"}} (.+)$', after, re.MULTILINE)[0])
        for each in ("requests_total", "request_errors_total", "request_seconds_count")
    )
    assert (refusals, answered) == (1, requests - 1), "who was refused at once does not count for how long others took"
    assert sum(len(commit.commands) for commit in journal.commits) == 1 + 2 + 3 * MAX_COMMANDS + 1


async def test_it_tells_what_a_resting_order_is_for(nats_server: NatsServer, matchers: Matchers) -> None:
    matchers.start_serving(nats_server)
    async with client_of(nats_server) as client:

        async def ask(question: bytes) -> dict[str, object]:
            answer: dict[str, object] = json.loads((await client.connection.request(MATCHER_ORDER, question)).data)
            return answer

        await client.submit(order(client_order_id="c-1"))
        found = {"sequence": 3, "order_id": 1, "symbol": "BTC-USD"}
        assert await ask(b'{"order_id": 1}') == found
        assert await ask(b'{"account": "default", "client_order_id": "c-1"}') == found
        assert await ask(b'{"order_id": 2}') == {"sequence": 3, "order_id": 2, "symbol": None}
        nothing = {"sequence": 3, "order_id": None, "symbol": None}
        assert await ask(b'{"account": "anna", "client_order_id": "c-1"}') == nothing
        assert (await ask(b"1"))["error"] == "invalid_question"


async def test_what_is_due_happens_when_nobody_asks_for_anything(nats_server: NatsServer, matchers: Matchers) -> None:
    matchers.start_serving(nats_server)
    async with client_of(nats_server) as client:
        soon = now() + 1_000_000
        expiring = replace(order(), time_in_force=TimeInForce.GTD, terms=Terms(expires_at=soon))
        await client.submit(expiring, order(), CancelAllAfter("default", 1_100_000))
        await client.until(lambda status: not status["resting_orders"])
        journal = await client.journal()
    clocks = [commit for commit in journal.commits if commit.commands == (AdvanceClock(),)]
    events = [event for commit in clocks for event in commit.outcomes[0].events]
    canceled = [event for event in events if isinstance(event, OrderCanceled)]
    assert [event.reason for event in canceled] == [CancelReason.EXPIRED, CancelReason.DEAD_MANS_SWITCH]
    assert CancelAllElapsed("default") in events
    assert min(commit.time for commit in clocks) >= soon


async def test_a_false_announcement_stops_nobody(nats_server: NatsServer, matchers: Matchers) -> None:
    matcher = matchers.start_serving(nats_server)
    async with client_of(nats_server) as client:
        for announcement in (b'{"matcher_epoch": 7}', b"nonsense", b""):
            await client.connection.publish(MATCHER_TAKEN_OVER, announcement)
            await client.submit(order())
            await client.submit(CancelOrder(order_id=99))
    assert matcher.process.poll() is None


async def test_an_announcement_makes_an_idle_matcher_look_whether_it_is_true(
    nats_server: NatsServer, matchers: Matchers
) -> None:
    matcher = matchers.start_serving(nats_server)
    async with client_of(nats_server) as client:
        await client.until_listed()
        await client.connection.jetstream().publish(JOURNAL, b"another matcher's barrier")
        await client.connection.publish(MATCHER_TAKEN_OVER, b'{"matcher_epoch": 2}')
        assert await asyncio.to_thread(matcher.exit_code) == 3
    assert "another matcher took over: it wrote journal sequence 3" in matcher.output
