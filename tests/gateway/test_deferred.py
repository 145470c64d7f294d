"""The 202 path over HTTP with a real nats-server: what is stored, what is refused at once, and what comes of it."""

import asyncio
from typing import Any

import pytest

from contracts.messages import PlaceOrder
from tests.support.deferral import ASYNC, ORDER, command, defer, settled
from tests.support.gateways import Gateway, running_gateway
from tests.support.servers import NatsServer

pytestmark = pytest.mark.stack


async def test_an_order_is_stored_then_placed(gateway: Gateway) -> None:
    accepted = await defer(gateway.http, "POST", "/orders", ORDER)
    assert set(accepted) == {"command_id", "status", "created_at"}
    assert accepted["status"] == "pending"
    found = await settled(gateway.http, accepted["command_id"])
    assert found["status"] == "completed", found
    assert found["http_status"] == 201
    assert found["result"]["client_order_id"] == accepted["command_id"]
    assert found["result"]["price"] == "100.00"
    assert found["problem"] is None
    assert found["created_at"] == accepted["created_at"] <= found["completed_at"]
    assert found["request"] == {
        "method": "POST",
        "path": "/orders",
        "body": ORDER | {"client_order_id": accepted["command_id"]},
    }
