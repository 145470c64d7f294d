"""Three real nats-servers as one cluster, whose routes can be held: a node cut off from the others, and only from them.

    async with running_cluster() as cluster:
        leader = await cluster.leader()
        cluster.cut_off(leader)

Each route goes through a proxy of its own, one for each direction in which nodes connect. While it is held nothing
passes, and nobody is told: what a network does that drops packets.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from nats.errors import Error as NatsError
from nats.js.api import StreamInfo

from chaos.proxy import Proxy, proxy_before
from cli.processes import Program
from cli.servers import NatsPlan, nats_cluster_plans, nats_configuration, nats_executable, nats_program
from contracts.subjects import JOURNAL_STREAM
from runtime.connection import close, connect
from tests.support.servers import NatsServer, temporary_folder, wait_until

READY_SECONDS = 60


@dataclass
class Cluster:
    nodes: tuple[NatsServer, ...]
    links: dict[tuple[int, int], Proxy]
    """The route that one node opens to another, by their places in `nodes`."""

    @property
    def url(self) -> str:
        return ",".join(node.url for node in self.nodes)

    @property
    def monitor_url(self) -> str:
        return ",".join(node.monitor_url for node in self.nodes)

    def cut_off(self, node: NatsServer) -> None:
        for link in self._links_of(node):
            link.flowing.clear()

    def join_again(self, node: NatsServer) -> None:
        for link in self._links_of(node):
            link.flowing.set()

    def others(self, *nodes: NatsServer) -> list[NatsServer]:
        return [each for each in self.nodes if each not in nodes]

    def _links_of(self, node: NatsServer) -> list[Proxy]:
        place = self.nodes.index(node)
        return [link for ends, link in self.links.items() if place in ends]

    async def info(self, *asked: NatsServer, stream: str = JOURNAL_STREAM) -> StreamInfo:
        """What the stream's leader says to one who is connected to one of these nodes; to any by default."""
        connection = await connect(",".join(node.url for node in asked or self.nodes), "test")
        try:
            async with asyncio.timeout(READY_SECONDS):
                while True:
                    try:
                        info = await connection.jsm(timeout=1).stream_info(stream)
                        if info.cluster is not None and info.cluster.leader:
                            return info
                    except (NatsError, TimeoutError):
                        pass  # nobody leads now
                    await asyncio.sleep(0.05)
        finally:
            await close(connection)

    async def leader(self, *asked: NatsServer) -> NatsServer:
        """Of the journal, as these nodes know it."""
        info = await self.info(*asked)
        assert info.cluster is not None
        return next(node for node in self.nodes if node.name == info.cluster.leader)

    async def start(self, *nodes: NatsServer) -> None:
        """Those of its nodes that were stopped or killed; they need one another to be well."""
        await asyncio.gather(*(asyncio.to_thread(node.start) for node in nodes))

    async def until_well(self) -> None:
        """All nodes are there and have everything."""
        for node in self.nodes:
            assert await asyncio.to_thread(wait_until, node.is_well, READY_SECONDS), node.name


@asynccontextmanager
async def running_cluster() -> AsyncIterator[Cluster]:
    with temporary_folder() as folder:
        async with AsyncExitStack() as proxies:
            plans = nats_cluster_plans(folder)
            ends = [(near, far) for near in range(len(plans)) for far in range(len(plans)) if near != far]
            links = {each: await proxies.enter_async_context(_link_to(plans[each[1]])) for each in ends}
            nodes = tuple(_node(folder, plans, links, place) for place in range(len(plans)))
            cluster = Cluster(nodes, links)
            try:
                await cluster.start(*nodes)
                yield cluster
            finally:
                for node in nodes:
                    if node.process is not None and node.process.poll() is None:
                        node.kill()


def _link_to(plan: NatsPlan) -> AbstractAsyncContextManager[Proxy]:
    return proxy_before(lambda: ("127.0.0.1", plan.route_port), reads_frames=False)


def _node(folder: Path, plans: tuple[NatsPlan, ...], links: dict[tuple[int, int], Proxy], place: int) -> NatsServer:
    """As nats/cluster.conf has it, but that it knows the others by the proxies alone."""
    plan = plans[place]
    routes = [f"nats-route://127.0.0.1:{link.port}" for (near, _), link in links.items() if near == place]
    configuration = folder / f"{plan.part}.conf"
    configuration.write_text(
        f"include '{os.path.relpath(nats_configuration() / 'local.conf', folder)}'\n"
        "cluster {\n"
        f"  name: {plan.cluster}\n"
        f"  listen: '127.0.0.1:{plan.route_port}'\n"
        "  no_advertise: true\n"
        "  ping_interval: '5s'\n"
        "  ping_max: 2\n"
        "  advertise: '127.0.0.1:1'\n"  # where nobody listens: what nodes are told of one another leads past no proxy
        f"  routes: {routes!r}\n"
        "}\n"
    )
    shipped = nats_program(plan)
    command = (nats_executable(), "-c", str(configuration))
    program = Program(name=plan.part, command=command, environment=shipped.environment)
    return NatsServer(program, folder / f"{plan.part}.log", plan)
