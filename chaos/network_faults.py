"""The network between services and servers on a bad day: acknowledgements lost, late or doubled, connections cut,
half-open or slow, sockets destroyed by the kernel, all of loopback narrowed."""

import asyncio

from chaos.kinds import kind
from chaos.machine import is_apart, sh
from chaos.proxy import Proxy, acknowledgements
from chaos.run import NotInjected, Run

_ACKS = "PubAck lost, late, doubled"
_CONNECTIONS = "connections cut, half-open, slow"
_SERVICES = ("matcher", "recorder", "broadcaster", "gateway")
_WAIT_SECONDS = 5.0


async def _until_met(proxy: Proxy, number: int, what: str) -> None:
    try:
        await proxy.until_lost(number, _WAIT_SECONDS)
    except TimeoutError:
        raise NotInjected(f"no {what} came by within {_WAIT_SECONDS} s") from None


def _matchers(run: Run) -> Proxy:
    return run.exchange.proxies["matcher", "nats"]


@kind("ack-lost", _ACKS, 45)
async def ack_lost(run: Run) -> str:
    proxy, times = _matchers(run), run.chance.choice([1, 1, 2])
    proxy.losing = acknowledgements
    try:
        await _until_met(proxy, proxy.lost + times, "acknowledgement")
    finally:
        proxy.losing = None
    return f"{times} in a row"


@kind("ack-late", _ACKS, 20)
async def ack_late(run: Run) -> str:
    """Behind all that is sent meanwhile: also behind the answer to the next attempt."""
    proxy = _matchers(run)
    proxy.late_seconds = run.chance.choice([0.5, 2.5, 4.0])
    proxy.late = acknowledgements
    try:
        await _until_met(proxy, proxy.lost + 1, "acknowledgement")
    finally:
        proxy.late = None
    return f"{proxy.late_seconds} s"


@kind("ack-doubled", _ACKS, 20)
async def ack_doubled(run: Run) -> str:
    proxy = _matchers(run)
    proxy.doubling = acknowledgements
    try:
        await _until_met(proxy, proxy.lost + run.chance.randint(1, 20), "acknowledgement")
    finally:
        proxy.doubling = None
    return "some in a row"


@kind("connection-cut", _CONNECTIONS, 50)
async def connection_cut(run: Run) -> str:
    service = run.chance.choice(_SERVICES)
    run.exchange.proxies[service, "nats"].cut()
    return f"{service} to NATS"


@kind("all-connections-cut", _CONNECTIONS, 15)
async def all_connections_cut(run: Run) -> str:
    for proxy in run.exchange.proxies.values():
        proxy.cut()
    return "every service to NATS and Postgres"


@kind("connection-refused", _CONNECTIONS, 12)
async def connection_refused(run: Run) -> str:
    service, seconds = run.chance.choice(_SERVICES), run.chance.uniform(0.5, 3.0)
    proxy = run.exchange.proxies[service, "nats"]
    proxy.refusing = True
    proxy.cut()
    try:
        await asyncio.sleep(seconds)
    finally:
        proxy.refusing = False
    return f"{service} away from NATS for {seconds:.1f} s"


@kind("connection-held", _CONNECTIONS, 15)
async def connection_held(run: Run) -> str:
    """Nothing passes for a while, then all of it: late and, where it was sent again, doubled."""
    service, seconds = run.chance.choice(_SERVICES), run.chance.choice([0.5, 2.5, 4.0])
    run.held_up |= service == "broadcaster"
    proxy = run.exchange.proxies[service, "nats"]
    proxy.flowing.clear()
    try:
        await asyncio.sleep(seconds)
    finally:
        proxy.flowing.set()
    return f"{service} to NATS for {seconds} s"


@kind("connection-half-open", _CONNECTIONS, 15)
async def connection_half_open(run: Run) -> str:
    """Both sides believe in a connection that carries nothing. The service has to notice by itself."""
    service = run.chance.choice(_SERVICES)
    run.held_up |= service == "broadcaster"
    proxy = run.exchange.proxies[service, "nats"]
    proxy.leave_half_open()
    try:
        await asyncio.sleep(run.chance.uniform(2.0, 4.5))
    finally:
        proxy.end_half_open()
    return f"{service} to NATS"


@kind("connection-slow", _CONNECTIONS, 10)
async def connection_slow(run: Run) -> str:
    service, seconds = run.chance.choice(_SERVICES), run.chance.uniform(1.0, 3.0)
    run.held_up |= service == "broadcaster"
    proxy = run.exchange.proxies[service, "nats"]
    proxy.bytes_per_second = run.chance.choice([5_000, 30_000])
    try:
        await asyncio.sleep(seconds)
    finally:
        proxy.bytes_per_second = None
    return f"{service} to NATS, {seconds:.1f} s"


@kind("sockets-destroyed", _CONNECTIONS, 25, needs=("sockets",))
async def sockets_destroyed(run: Run) -> str:
    """`ss -K`: the kernel ends them under both sides, those of our clients included."""
    port = run.chance.choice([run.exchange.nats_port, run.exchange.http_port, run.exchange.ws_port])
    await asyncio.to_thread(sh, "ss", "-K", "dst", "127.0.0.1", "dport", "=", str(port))
    return f"all to port {port}"


@kind("loopback-narrow", _CONNECTIONS, 6, needs=("traffic",))
async def loopback_narrow(run: Run) -> str:
    """`tc tbf`: everything on this loopback shares a narrow line. Only where loopback is ours alone."""
    if not is_apart():
        raise NotInjected("this loopback is not ours alone")
    run.held_up = True
    rate, seconds = run.chance.choice(["4mbit", "20mbit"]), run.chance.uniform(1.0, 3.0)
    await asyncio.to_thread(sh, *f"tc qdisc add dev lo root tbf rate {rate} burst 128kb latency 200ms".split())
    try:
        await asyncio.sleep(seconds)
    finally:
        await asyncio.to_thread(sh, *["tc", "qdisc", "del", "dev", "lo", "root"])
    return f"{rate} for {seconds:.1f} s"
