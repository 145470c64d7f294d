"""Who may trade over NATS without a password, while a whole exchange runs: as long as nothing asks for keys."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest

from runtime.connection import without_password
from tests.support.plain_nats import PlainNats, Refused, Silence
from tests.support.servers import wait_until
from tests.support.stack import Stack, running_stack

pytestmark = pytest.mark.stack

ORDER = b'{"side":"buy","price":"1.00","quantity":"1"}'


@pytest.fixture(scope="module")
def own_stack() -> Iterator[Stack]:
    """One that gets a key, and with it other rules."""
    with running_stack() as started:
        yield started


def pricetime(stack: Stack, *arguments: str) -> str:
    command = [sys.executable, "-P", "-m", "cli.main", *arguments, "--data", str(stack.data)]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout.strip()


def address(stack: Stack) -> str:
    return without_password(stack.nats)


def may_trade(client: PlainNats, subject: str = "orders.place") -> bool:
    try:
        return "order_id" in json.loads(client.request(subject, ORDER).payload)
    except Refused:
        return False


def test_the_first_key_closes_nats_for_those_without_a_password(own_stack: Stack) -> None:
    login = pricetime(own_stack, "nats-users", "add", "anna") and pricetime(own_stack, "nats-users", "url", "anna")
    with PlainNats(address(own_stack)) as before, PlainNats(login) as anna, PlainNats(own_stack.nats) as operator:
        before.subscribe("accounts.*.orders")
        assert may_trade(before)
        assert before.next().subject == "accounts.default.orders"

        pricetime(own_stack, "keys", "create", "--accounts", "anna")

        assert wait_until(lambda: not may_trade(before), 20)
        with PlainNats(address(own_stack)) as after:
            assert not may_trade(after)
            after.subscribe("market.>")
            assert after.flush() == []
            assert len(after.requests("$SRV.PING")) == 4
        assert may_trade(anna, "accounts.anna.orders.place")
        assert may_trade(operator)
        before.pending()
        assert silent(before), "it still hears everybody's orders"


def test_it_stays_closed_after_a_restart_of_everything(own_stack: Stack) -> None:
    own_stack.stop()
    own_stack.start()
    with PlainNats(address(own_stack)) as client:
        assert not may_trade(client)
    with PlainNats(pricetime(own_stack, "nats-users", "url", "anna")) as anna:
        assert may_trade(anna, "accounts.anna.orders.place")


def test_a_broker_that_is_killed_comes_back_with_the_same_rules(own_stack: Stack) -> None:
    killed = own_stack.kill("nats")
    own_stack.wait_until_healed("nats", killed)
    with PlainNats(address(own_stack)) as client:
        assert not may_trade(client)
    with PlainNats(pricetime(own_stack, "nats-users", "url", "anna")) as anna:
        eventually(lambda: may_trade(anna, "accounts.anna.orders.place"))


def test_a_setting_closes_it_from_the_start() -> None:
    with running_stack({"PRICETIME_NATS_OPEN": "false"}) as stack, PlainNats(address(stack)) as client:
        assert not may_trade(client)
        client.subscribe("market.*.book")
        assert client.next().payload


def silent(client: PlainNats) -> bool:
    try:
        client.next(1.5)
    except Silence:
        return True
    return False


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
