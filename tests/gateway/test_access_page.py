"""docs/access.md is true: its samples run as they are printed, and its tables name what there is."""

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import nats
import pytest

from contracts.keys import KeyRefusal, Scope
from entry.keys import no_access
from pricetime_client import AsyncExchange, OrdersSnapshot, Refusal
from tests.support.keys import TRADE, MadeKey, make_key
from tests.support.servers import run_apart, wait_until
from tests.support.stack import Stack, running_stack

PAGE = (Path(__file__).parents[2] / "docs" / "access.md").read_text()


def sample(language: str) -> str:
    [found] = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    assert isinstance(found, str)
    return found


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """One with keys, which the stack that all tests share must not have."""
    with running_stack() as started:
        yield started


@pytest.fixture(scope="module")
def signing_key(stack: Stack) -> MadeKey:
    async def make() -> MadeKey:
        connection = await nats.connect(stack.nats)
        made = await make_key(connection, TRADE, signed_only=True)
        await connection.close()
        return made

    made = run_apart(make)
    assert wait_until(lambda: httpx.get(f"{stack.http}/orders", trust_env=False).status_code == 401)
    return made


def run(command: list[str], text: str, stack: Stack, made: MadeKey) -> str:
    environment = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    environment |= {"PRICETIME_URL": stack.http, "PRICETIME_KEY": made.key}
    done = subprocess.run([*command, text], env=environment, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


@pytest.mark.stack
def test_the_sample_in_python(stack: Stack, signing_key: MadeKey) -> None:
    first, second = run([sys.executable, "-c"], sample("python"), stack, signing_key).splitlines()
    assert re.fullmatch(r"[0-9]+ open anna", first)
    assert re.fullmatch(r"[1-9] open orders", second)


@pytest.mark.stack
def test_the_sample_in_shell(stack: Stack, signing_key: MadeKey) -> None:
    """Its last request once more at once: equal requests within one second are different signatures."""
    text = sample("sh")
    order, orders, again = run(["sh", "-euc"], text + text.splitlines()[-1], stack, signing_key).splitlines()
    assert '"client_order_id":"signed-2"' in order
    assert '"status":"open"' in order
    assert '"client_order_id":"signed-2"' in orders
    assert again == orders


@pytest.mark.stack
async def test_our_client_signs_likewise(stack: Stack, signing_key: MadeKey) -> None:
    """Also many equal requests at once, each of which must be signed on its own; and the handshake of a stream."""
    async with AsyncExchange(stack.http, key=signing_key.key, signed=True) as exchange:
        order = await exchange.place(symbol="BTC-USD", side="buy", price="1.00", quantity="1")
        found = await asyncio.gather(*(exchange.order(order.order_id) for _ in range(20)))
        assert {each.account for each in found} == {"anna"}
        async with exchange.stream() as stream:
            snapshot = await anext(stream.subscribe("orders"))
        assert isinstance(snapshot, OrdersSnapshot)
        assert snapshot.accounts == ["anna"]
    async with AsyncExchange(stack.http, key=signing_key.key) as exchange:  # a --signed-only key that is sent itself
        with pytest.raises(Refusal, match="unauthorized"):
            await exchange.orders()
        with pytest.raises(Refusal, match="unauthorized"):
            async with exchange.stream():
                pass
    async with AsyncExchange(stack.http, key=f"{signing_key.key}0", signed=True) as exchange:
        with pytest.raises(Refusal, match="signature_invalid"):
            await exchange.orders()


@pytest.mark.parametrize(
    "code", sorted({no_access(refusal).problem.code for refusal in KeyRefusal} | {"forbidden", "rate_limited"})
)
def test_every_code_is_explained(code: str) -> None:
    assert re.search(rf"\| \d+ \| `{code}` \|", PAGE)


@pytest.mark.parametrize("scope", list(Scope))
def test_every_scope_is_explained(scope: Scope) -> None:
    assert f"| `{scope.value}` |" in PAGE
