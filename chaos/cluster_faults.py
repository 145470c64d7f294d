"""Three nats-servers: one lost, two lost, nodes cut off from one another, the one that leads the journal isolated."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from nats.errors import Error as NatsError

from chaos.kinds import kind
from chaos.launch import NODES
from chaos.run import NotInjected, Run
from contracts.subjects import JOURNAL_STREAM
from runtime.leadership import certain_stream_info

_ROW = "one node of three lost, two lost, partitioned, the leader isolated"
_LEADER_SECONDS = 15.0


async def leader_of_journal(run: Run) -> str:
    """Not one that was replaced unawares. After an earlier fault one may have to be found first."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_LEADER_SECONDS):
            while True:
                with suppress(NatsError, TimeoutError):
                    info = await certain_stream_info(run.connection, JOURNAL_STREAM)
                    if info.cluster is not None and info.cluster.leader:
                        return f"nats-{info.cluster.leader.rsplit('-', 1)[-1]}"
                await asyncio.sleep(0.1)
    raise NotInjected("it is not certain who leads the journal")


@kind("node-killed", _ROW, 12, profile="cluster")
async def node_killed(run: Run) -> str:
    node = run.chance.choice(NODES)
    if run.exchange.signal(node, signal.SIGKILL) is None:
        raise NotInjected(f"{node} is just being started")
    return node


@kind("leading-node-killed", _ROW, 15, profile="cluster")
async def leading_node_killed(run: Run) -> str:
    node = await leader_of_journal(run)
    if run.exchange.signal(node, signal.SIGKILL) is None:
        raise NotInjected(f"{node} is just being started")
    return node


async def _away(run: Run, nodes: list[str], seconds: float, *, served: bool) -> None:
    """They sleep. With most of the nodes there, orders go on meanwhile; `served`: it is measured how soon."""
    for node in nodes:
        run.exchange.signal(node, signal.SIGSTOP)
    try:
        if served:
            await run.until_acknowledged()
        await asyncio.sleep(seconds)
    finally:
        for node in nodes:
            run.exchange.signal(node, signal.SIGCONT)


@kind("node-away", _ROW, 8, profile="cluster")
async def node_away(run: Run) -> str:
    node, seconds = run.chance.choice(NODES), run.chance.uniform(1.0, 4.0)
    await _away(run, [node], seconds, served=True)
    return f"{node}; orders went on, then {seconds:.1f} s more"


@kind("two-nodes-away", _ROW, 8, profile="cluster")
async def two_nodes_away(run: Run) -> str:
    """Nothing can be stored: no order may be acknowledged until they are back."""
    nodes, seconds = run.chance.sample(NODES, 2), run.chance.uniform(3.0, 7.0)
    await _away(run, nodes, seconds, served=False)
    return f"{' and '.join(nodes)} for {seconds:.1f} s"


@kind("two-nodes-killed", _ROW, 8, profile="cluster")
async def two_nodes_killed(run: Run) -> str:
    nodes = run.chance.sample(NODES, 2)
    for node in nodes:
        run.exchange.signal(node, signal.SIGKILL)
    return " and ".join(nodes)


@kind("all-nodes-killed", _ROW, 4, profile="cluster")
async def all_nodes_killed(run: Run) -> str:
    for node in NODES:
        run.exchange.signal(node, signal.SIGKILL)
    return "at one moment"


@asynccontextmanager
async def _isolated(run: Run, node: str, *, silently: bool) -> AsyncIterator[None]:
    """No route from or to the node; its clients still reach it."""
    routes = [proxy for (near, far), proxy in run.exchange.routes.items() if node in (near, far)]
    for proxy in routes:
        if silently:
            proxy.leave_half_open()
            proxy.flowing.clear()
        else:
            proxy.refusing = True
            proxy.cut()
    try:
        yield
    finally:
        for proxy in routes:
            proxy.refusing = False
            proxy.flowing.set()
            proxy.end_half_open()
            proxy.cut()


@kind("leading-node-isolated", _ROW, 12, profile="cluster")
async def leading_node_isolated(run: Run) -> str:
    """The others choose a new leader; what the old one still tells its clients must not count."""
    node, silently = await leader_of_journal(run), run.chance.random() < 0.5
    began = asyncio.get_running_loop().time()
    async with _isolated(run, node, silently=silently):
        await run.until_acknowledged()
        took = asyncio.get_running_loop().time() - began
        await asyncio.sleep(run.chance.uniform(0.0, 2.0))
    return f"{node}{', silently' if silently else ''}; orders went on after {took:.1f} s"


@kind("node-isolated", _ROW, 6, profile="cluster")
async def node_isolated(run: Run) -> str:
    node, seconds = run.chance.choice(NODES), run.chance.uniform(2.0, 6.0)
    async with _isolated(run, node, silently=run.chance.random() < 0.5):
        await asyncio.sleep(seconds)
    return f"{node} for {seconds:.1f} s"


@kind("route-half-open", _ROW, 6, profile="cluster")
async def route_half_open(run: Run) -> str:
    """One of the connections between two nodes passes nothing one way. They notice within 15 s, and open another."""
    joined = [each for each in run.exchange.routes.items() if each[1].connections]
    if not joined:
        raise NotInjected("no two nodes are joined at this moment")
    (near, far), proxy = run.chance.choice(joined)
    proxy.leave_one_way_half_open(run.chance)
    try:
        await asyncio.sleep(run.chance.uniform(1.0, 12.0))
        await run.until_acknowledged()
    finally:
        proxy.end_half_open()
    return f"between {near} and {far}"


@kind("all-nodes-apart", _ROW, 5, profile="cluster")
async def all_nodes_apart(run: Run) -> str:
    """No two of them reach one another."""
    seconds = run.chance.uniform(2.0, 6.0)
    for proxy in run.exchange.routes.values():
        proxy.refusing = True
        proxy.cut()
    try:
        await asyncio.sleep(seconds)
    finally:
        for proxy in run.exchange.routes.values():
            proxy.refusing = False
    return f"for {seconds:.1f} s"


@kind("matcher-killed-in-cluster", _ROW, 5, profile="cluster")
async def matcher_killed_in_cluster(run: Run) -> str:
    if run.exchange.signal("matcher", signal.SIGKILL) is None:
        raise NotInjected("the matcher is just being started")
    return "matcher"
