"""A gateway on a nats-server of its own, the other services played."""

from collections.abc import AsyncIterator

import pytest

from tests.support.gateways import Gateway, running_gateway
from tests.support.servers import NatsServer


@pytest.fixture
async def gateway(module_nats_server: NatsServer) -> AsyncIterator[Gateway]:
    """Postgres is away: what is tested with it is what must go on without it."""
    async with running_gateway(module_nats_server.url) as running:
        yield running
