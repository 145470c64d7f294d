"""Goal: a deferred command is carried out exactly once wherever its gateway dies.

Method: a gateway process that kills itself with -9 at a chosen point of its work, a real matcher with its journal, and
another gateway after it. What the journal holds and what the command's result says must be the same thing, once.
"""

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from contracts.messages import (
    AllOrNothing,
    AmendOrder,
    CancelOrder,
    CancelOrders,
    ClientCommand,
    PlaceOrder,
    Side,
)
from contracts.subjects import COMMANDS_STREAM
from gateway.deferred_store import CONSUMER
from tests.support.deferral import ORDER, command, defer, settled
from tests.support.matchers import MatcherClient, Matchers, client_of, order
from tests.support.servers import NatsServer, wait_until

pytestmark = pytest.mark.stack
# ruff: noqa: ASYNC110  # what is waited for is in another process, so there is no event to set

FOLDER = Path(__file__).parents[2]
DYING = """
import os, signal, runpy
from gateway import {module}
from gateway import deferred_dispatch
deferred_dispatch.MAX_BEGUN = 1
def die(*given, **named): os.kill(os.getpid(), signal.SIGKILL)
{module}.{name} = die
runpy.run_module("gateway", run_name="__main__")
"""
POINTS = {
    "before carrying it out": ("deferred_dispatch", "attempting"),
    "before storing the result": ("deferred_store", "CommandStore.finish"),
    "before listing the failure": ("deferred_store", "CommandStore.list_failure"),
}
Launch = Callable[..., "GatewayProcess"]


class GatewayProcess:
    def __init__(self, server: NatsServer, log: Path, program: tuple[str, ...]) -> None:
        self.log = log
        settings = {"PRICETIME_NATS_URL": server.url, "PRICETIME_HTTP_PORT": "0"}
        settings["PRICETIME_POSTGRES_URL"] = "postgresql://nobody@127.0.0.1:1/none"
        with log.open("wb") as output:
            environment = os.environ | settings | {"PRICETIME_COMMAND_TIMEOUT_SECONDS": "1"}
            self.process = subprocess.Popen([sys.executable, *program], cwd=FOLDER, env=environment, stderr=output)
        assert wait_until(lambda: "serving on " in log.read_text() or self.process.poll() is not None)
        assert self.process.poll() is None, log.read_text()
        self.url = log.read_text().split("serving on ")[1].split()[0]

    def http(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=self.url, timeout=30, trust_env=False)


@pytest.fixture
def launch(nats_server: NatsServer, tmp_path: Path) -> Iterator[Launch]:
    started: list[GatewayProcess] = []

    def start(point: str | None = None) -> GatewayProcess:
        program = ("-m", "gateway")
        if point is not None:
            module, name = POINTS[point]
            program = ("-c", DYING.format(module=module, name=name))
        started.append(GatewayProcess(nats_server, tmp_path / f"gateway-{len(started)}.log", program))
        return started[-1]

    yield start
    for each in started:
        each.process.kill()
        each.process.wait()


async def carried_out(matcher: MatcherClient, kind: type[ClientCommand]) -> int:
    """How many commands of this kind the journal holds."""
    journal = await matcher.journal()
    return sum(isinstance(each, kind) for commit in journal.commits for each in commit.commands)


async def fate(launch: Launch, point: str, method: str, path: str, body: object) -> dict[str, Any]:
    """The command after the gateway that carries it out has died at `point` and another has come."""
    dying = launch(point)
    async with dying.http() as http:
        try:
            command_id = (await defer(http, method, path, body, key="the-key"))["command_id"]
        except httpx.TransportError:
            command_id = ""  # it died before it could answer 202: then the client asks again
    assert dying.process.wait(30) == -9
    async with launch().http() as http:
        again = await defer(http, method, path, body, key="the-key")
        assert command_id in ("", again["command_id"])
        return await settled(http, again["command_id"])


PLACES = {"account": "anna", **ORDER}
CHANGES: dict[str, tuple[str, str, object, type[ClientCommand], str, object]] = {
    "place": ("POST", "/orders", PLACES, PlaceOrder, "account", "anna"),
    "amend": ("PUT", "/orders/1", {"price": "99"}, AmendOrder, "price", "99.00"),
    "amend that fills": ("PUT", "/orders/1", {"price": "200"}, AmendOrder, "status", "filled"),
    "cancel": ("DELETE", "/orders/1", None, CancelOrder, "reason", "requested"),
    "cancel all": ("DELETE", "/orders?side=buy", None, CancelOrders, "canceled", 2),
}


@pytest.mark.parametrize(
    ("point", "change"),
    [("before storing the result", change) for change in CHANGES]
    + [("before carrying it out", change) for change in ("place", "amend that fills")],
)
async def test_each_change_is_made_exactly_once(
    nats_server: NatsServer, matchers: Matchers, launch: Launch, point: str, change: str
) -> None:
    method, path, body, kind, name, value = CHANGES[change]
    matchers.start_serving(nats_server)
    async with client_of(nats_server) as matcher:
        await matcher.until_served()
        placed = (order(price=10_000), order(price=9_000), order(Side.SELL, price=20_000))
        await matcher.submit(*placed)
        before = await carried_out(matcher, kind)
        found = await fate(launch, point, method, path, body)
        assert found["status"] == "completed", found
        assert found["result"][name] == value
        assert await carried_out(matcher, kind) == before + 1


@pytest.mark.parametrize("all_or_nothing", [True, False])
async def test_a_batch_is_carried_out_exactly_once(
    nats_server: NatsServer, matchers: Matchers, launch: Launch, all_or_nothing: bool
) -> None:
    items = [{"place": ORDER}, {"cancel": {"order_id": 1}}, {"amend": {"order_id": 2, "quantity": 2}}, {"place": ORDER}]
    body = {"items": items, "all_or_nothing": all_or_nothing}
    matchers.start_serving(nats_server)
    async with client_of(nats_server) as matcher:
        await matcher.until_served()
        await matcher.submit(order(), order())
        found = await fate(launch, "before storing the result", "POST", "/orders/batch", body)
        assert found["status"] == "completed", found
        statuses = [item["status"] for item in found["result"]["items"]]
        assert statuses == [201, 200, 200, 201]
        made = [await carried_out(matcher, kind) for kind in (PlaceOrder, CancelOrder, AmendOrder, AllOrNothing)]
        assert made == ([2, 0, 0, 1] if all_or_nothing else [4, 1, 1, 0])


async def test_what_was_refused_stays_refused_and_is_listed(
    nats_server: NatsServer, matchers: Matchers, launch: Launch
) -> None:
    """The order that was not there when it was to be canceled comes later: the failure stands."""
    matchers.start_serving(nats_server)
    async with client_of(nats_server) as matcher:
        await matcher.until_served()
        dying = launch("before listing the failure")
        async with dying.http() as http:
            accepted = await defer(http, "DELETE", "/orders/1", None)
        assert dying.process.wait(30) == -9
        await matcher.submit(order())
        async with launch().http() as http:
            found = await command(http, accepted["command_id"])
            assert (found["status"], found["problem"]["code"]) == ("failed", "unknown_order")
            await settled(http, (await defer(http, "POST", "/orders", ORDER))["command_id"])
            assert (await http.get("/commands?status=failed")).json()["items"] == [found]
        assert await carried_out(matcher, CancelOrder) == 0


async def test_a_command_that_ends_every_gateway_is_given_up(launch: Launch) -> None:
    """MAX_BEGUN is 1 here: the first attempt is not counted, the second is, and the third is not made."""
    dying = launch("before carrying it out")
    async with dying.http() as http:
        accepted = await defer(http, "DELETE", "/orders/1")
    assert dying.process.wait(30) == -9
    assert launch("before carrying it out").process.wait(30) == -9
    async with launch("before carrying it out").http() as http:
        found = await settled(http, accepted["command_id"])
        assert (found["status"], found["problem"]["code"]) == ("failed", "internal_error")
        assert "was begun" in found["problem"]["detail"]
        assert (await http.get("/commands?status=failed")).json()["items"] == [found]


async def test_what_a_dead_gateway_held_is_not_overtaken(
    nats_server: NatsServer, matchers: Matchers, launch: Launch
) -> None:
    """Its commands come again only when the broker has missed it; those stored since must wait for them."""
    serving = matchers.start_serving(nats_server)
    first = launch()
    async with first.http() as http, client_of(nats_server) as matcher:
        await settled(http, (await defer(http, "POST", "/orders", ORDER))["command_id"])
        serving.pause()
        held = [await defer(http, "POST", "/orders", ORDER) for _ in range(20)]
        consumer = matcher.connection.jetstream().consumer_info
        async with asyncio.timeout(60):
            while (await consumer(COMMANDS_STREAM, CONSUMER)).num_ack_pending != 20:
                await asyncio.sleep(0.02)
    first.process.kill()
    serving.resume()
    async with launch().http() as http:
        behind = [await defer(http, "POST", "/orders", ORDER) for _ in range(5)]
        results = [await settled(http, each["command_id"]) for each in (*held, *behind)]
        assert [each["result"]["order_id"] for each in results] == list(range(2, 27))


async def test_an_answer_that_is_lost_on_the_way_is_found_in_the_journal(
    nats_server: NatsServer, matchers: Matchers, launch: Launch
) -> None:
    """The matcher is paused until the gateway has given the answer up, then goes on with what it had received."""
    serving = matchers.start_serving(nats_server)
    async with client_of(nats_server) as matcher, launch().http() as http:
        await matcher.until_served()
        await matcher.submit(order(price=10_000), order(price=9_000), order(Side.SELL, price=20_000))
        serving.pause()
        accepted = [
            await defer(http, "PUT", "/orders/1", {"price": "200"}),
            await defer(http, "DELETE", "/orders?side=buy"),
            await defer(http, "POST", "/orders", PLACES),
        ]
        assert not wait_until(lambda: False, 3)  # command_timeout_seconds has passed, more than once
        serving.resume()
        amended, canceled, placed = [await settled(http, each["command_id"]) for each in accepted]
        assert amended["result"]["status"] == "filled"
        assert canceled["result"]["canceled"] == 1
        assert placed["result"]["status"] == "open"
        made = [await carried_out(matcher, kind) for kind in (AmendOrder, CancelOrders)]
        assert made == [1, 1]
