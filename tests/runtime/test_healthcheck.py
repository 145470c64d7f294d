"""The health checks of the containers, asked of real services."""

import pytest

from runtime.healthcheck import CHECKS, Unwell, check
from runtime.settings import Settings
from tests.support.servers import NatsServer
from tests.support.stack import Stack

pytestmark = pytest.mark.stack


@pytest.mark.parametrize("service", CHECKS)
async def test_a_working_service_is_well(service: str, stack: Stack) -> None:
    settings = Settings(nats_url=stack.nats, http_port=int(stack.http.rsplit(":", 1)[1]))
    assert await check(service, settings)


@pytest.mark.parametrize("service", CHECKS)
async def test_a_service_that_does_not_answer_is_unwell(service: str, nats_server: NatsServer) -> None:
    with pytest.raises(Unwell, match="no answer"):
        await check(service, Settings(nats_url=nats_server.url, http_port=1))


async def test_without_nats_every_service_is_unwell() -> None:
    settings = Settings(nats_url="nats://127.0.0.1:1")
    with pytest.raises(Unwell, match=r"no answer on matcher\.status"):
        await check("matcher", settings)
