"""`pricetime handover` and `pricetime restart` on a whole exchange while orders flow: each is answered, and stays."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx
import psutil
import pytest

from matcher.standby import standbys
from runtime.connection import close, connect
from tests.support.stack import PARTS, Stack, running_stack

pytestmark = pytest.mark.stack

LONG_LEASE = {"PRICETIME_LEASE_SECONDS": "10"}
"""So that none is lost because the machine has no time for its holder; what is given away, or left by a dead one, is
taken at once all the same."""


@pytest.fixture(scope="module")
def pair() -> Iterator[Stack]:
    """With a second matcher."""
    with running_stack(LONG_LEASE, options=("--standby",)) as started:
        yield started


@pytest.fixture(scope="module")
def alone() -> Iterator[Stack]:
    """With metrics: the matcher that helps out must not want the port of the other."""
    with running_stack(LONG_LEASE, options=("--metrics", "0")) as started:
        yield started


def pricetime(stack: Stack, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-m", "cli.main", *arguments, "--data", str(stack.data)]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)


@dataclass
class Flow:
    """Orders over REST without pause, each sent again after a broken connection, under the same id."""

    stack: Stack
    answered: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    stopping: bool = False

    async def place(self, worker: int) -> None:
        async with httpx.AsyncClient(base_url=self.stack.http, trust_env=False, timeout=30) as client:
            number = 0
            while not self.stopping:
                number += 1
                name = f"w{worker}-{number}"
                answer = await self._send(client, name)
                if answer.is_success:
                    self.answered.append(name)
                else:
                    self.wrong.append(answer.text)

    async def _send(self, client: httpx.AsyncClient, name: str) -> httpx.Response:
        body = {"side": "buy", "price": "1.00", "quantity": "1", "account": "flow", "client_order_id": name}
        while True:
            try:
                return await client.post("/orders", json=body)
            except httpx.TransportError:
                pass  # the gateway closes its connections when it ends


@asynccontextmanager
async def flowing(stack: Stack) -> AsyncIterator[Flow]:
    flow = Flow(stack)
    tasks = [asyncio.create_task(flow.place(worker)) for worker in range(4)]
    try:
        yield flow
    finally:
        flow.stopping = True
        await asyncio.gather(*tasks)


def assert_all_there(stack: Stack, flow: Flow) -> None:
    assert flow.wrong == []
    assert flow.answered
    verified = pricetime(stack, "verify")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    with httpx.Client(base_url=stack.http, trust_env=False, timeout=60) as client:
        for name in flow.answered[:: max(1, len(flow.answered) // 20)]:
            found = client.get(f"/orders/by-client-id/{name}", params={"account": "flow"})
            assert found.is_success, found.text


async def until_paired(stack: Stack) -> None:
    """Until one of the two matchers leads and the other stands by."""
    connection = await connect(stack.nats, "operator")
    try:
        async with asyncio.timeout(60):
            while [standby.pid for standby in await standbys(connection, 0.2) if standby.ready] not in (
                [stack.pids["matcher"]],
                [stack.pids["standby"]],
            ):
                pass
    finally:
        await close(connection)


async def test_every_service_restarts_while_orders_flow(pair: Stack) -> None:
    before = pair.pids
    async with flowing(pair) as flow:
        done = await asyncio.to_thread(pricetime, pair, "restart")
        assert done.returncode == 0, done.stderr
    after = pair.pids
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["matcher", "recorder", "broadcaster", "gateway"]
    assert {part for part in before if before[part] == after[part]} == {"nats", "postgres"}
    assert_all_there(pair, flow)


def test_a_handover_is_told_in_one_line(pair: Stack) -> None:
    done = pricetime(pair, "handover")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("The matcher with process id ")
    assert done.stdout.count("\n") == 1


async def test_orders_can_be_placed_while_one_of_two_matchers_is_away(pair: Stack) -> None:
    """Killed, each in turn: the other goes on, and the exchange is not called unready for as long."""
    async with flowing(pair) as flow:
        for part in ("matcher", "standby"):
            await until_paired(pair)
            killed = pair.kill(part)
            await asyncio.to_thread(pair.wait_until_healed, part, killed)
    assert_all_there(pair, flow)


async def test_a_matcher_that_is_alone_is_restarted_with_the_help_of_another(alone: Stack) -> None:
    before = alone.pids
    async with flowing(alone) as flow:
        done = await asyncio.to_thread(pricetime, alone, "restart", "matcher")
        assert done.returncode == 0, done.stderr
    assert {part for part in before if before[part] != alone.pids[part]} == {"matcher"}
    assert tuple(alone.pids) == PARTS
    matchers = [each.pid for each in psutil.process_iter() if str(alone.data) in environment_of(each)]
    assert matchers == [alone.pids["matcher"]], "the helper is left over"
    assert_all_there(alone, flow)


def environment_of(process: psutil.Process) -> str:
    """Of a matcher the folder that it works on."""
    try:
        if "matcher" not in process.cmdline():
            return ""
        return process.environ().get("PRICETIME_DATA_DIR", "")
    except psutil.Error:
        return ""


def test_without_a_standby_nothing_is_handed_over_and_why_is_one_line(alone: Stack) -> None:
    done = pricetime(alone, "handover")
    assert done.returncode == 2
    assert done.stderr == (
        "pricetime: not handed over: no matcher stands by; `pricetime up --standby` runs a second one\n"
    )


def test_a_part_that_cannot_be_restarted_is_one_line(alone: Stack) -> None:
    done = pricetime(alone, "restart", "nats")
    assert done.returncode == 2
    assert done.stderr == (
        "pricetime: 'nats' cannot be restarted while orders flow: "
        "give some of matcher, recorder, broadcaster, gateway\n"
    )


@pytest.mark.parametrize("command", ["handover", "restart"])
def test_without_an_exchange_it_is_one_line(command: str, tmp_path: object) -> None:
    run = [sys.executable, "-P", "-m", "cli.main", command, "--data", str(tmp_path)]
    done = subprocess.run(run, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stderr.startswith("pricetime: no exchange runs on")
    assert done.stderr.count("\n") == 1
