"""The proxy of chaos/ before a test's own nats-server."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from chaos.proxy import Proxy, acknowledgements, proxy_before
from tests.support.servers import NatsServer

__all__ = ["Proxy", "acknowledgements", "proxy_to"]


@asynccontextmanager
async def proxy_to(server: NatsServer) -> AsyncIterator[Proxy]:
    async with proxy_before(lambda: (server.plan.host, server.plan.port)) as proxy:
        yield proxy
