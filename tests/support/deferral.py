"""Deferred commands for tests: sent with Prefer: respond-async, and waited for."""

import asyncio
from typing import Any

import httpx

ASYNC = {"prefer": "respond-async"}
ORDER = {"side": "buy", "price": "100.00", "quantity": "1"}


async def defer(
    http: httpx.AsyncClient, method: str, path: str, body: object = None, *, key: str | None = None
) -> dict[str, Any]:
    """The answer to a request that must be stored."""
    headers = ASYNC if key is None else ASYNC | {"idempotency-key": key}
    response = await http.request(method, path, json=body, headers=headers)
    assert response.status_code == 202, response.text
    accepted: dict[str, Any] = response.json()
    assert response.headers["location"] == f"/commands/{accepted['command_id']}"
    assert response.headers["preference-applied"] == "respond-async"
    return accepted


async def command(http: httpx.AsyncClient, command_id: str) -> dict[str, Any]:
    response = await http.get(f"/commands/{command_id}")
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    assert found["command_id"] == command_id
    return found


async def settled(http: httpx.AsyncClient, command_id: str, seconds: float = 60) -> dict[str, Any]:
    """The command once it is no longer pending."""
    async with asyncio.timeout(seconds):
        while (found := await command(http, command_id))["status"] == "pending":  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    return found
