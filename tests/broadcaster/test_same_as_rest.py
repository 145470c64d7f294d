"""What comes in over /ws and over REST is the same order, with the same answer and the same refusal.

Method: the same requests both ways, each for an account and an instrument of its own; but for names, numbers and times
the answers must be equal.
"""

import json
import re
from typing import Any

import httpx
import pytest

from tests.support.stack import Stack
from tests.support.streams import StreamClient

pytestmark = pytest.mark.stack

RESTING = {"side": "sell", "price": "10.00", "quantity": "3"}
REQUESTS: list[tuple[str, dict[str, Any]]] = [
    ("place", {"side": "buy", "price": "9.00", "quantity": "1"}),
    ("place", {"side": "buy", "price": 9.5, "quantity": 1, "time_in_force": "IOC"}),
    ("place", {"side": "buy", "type": "market", "quantity": "1"}),
    ("place", {"side": "buy", "price": "10.00", "quantity": "2", "time_in_force": "FOK"}),
    ("place", {"side": "buy", "price": "10.00", "quantity": "200", "time_in_force": "FOK"}),
    ("place", {"side": "buy", "type": "market", "notional": "15"}),
    ("place", {"side": "sell", "type": "stop", "stop_price": "5", "quantity": "1"}),
    ("place", {"side": "sell", "type": "stop_limit", "stop_price": "5", "price": "4", "quantity": "1"}),
    ("place", {"side": "sell", "price": "12", "quantity": "5", "display_quantity": "1"}),
    ("place", {"side": "buy", "price": "8", "quantity": "1", "time_in_force": "DAY", "post_only": True}),
    ("place", {"side": "buy", "price": "8", "quantity": "1", "client_order_id": "one"}),
    ("place", {"side": "buy", "price": "8", "quantity": "1", "client_order_id": "one"}),
    ("place", {"side": "buy", "price": "7", "quantity": "1", "client_order_id": "one"}),
    ("place", {"side": "buy", "price": "10.00", "quantity": "1", "post_only": True}),
    ("place", {"side": "buy", "price": "10.001", "quantity": "1"}),
    ("place", {"side": "buy", "price": "abc", "quantity": "1"}),
    ("place", {"side": "buy", "price": "1"}),
    ("place", {"side": "buy", "quantity": "1"}),
    ("place", {"side": "buy", "price": "1", "quantity": "0"}),
    ("place", {"side": "hold", "price": "1", "quantity": "1"}),
    ("place", {"side": "buy", "price": "1", "quantity": "1", "colour": "red"}),
    ("place", {"side": "buy", "price": "1", "quantity": "1", "symbol": "N/A"}),
    ("amend", {"client_order_id": "one", "price": "8.50"}),
    ("amend", {"client_order_id": "one"}),
    ("amend", {"client_order_id": "one", "price": "8.501"}),
    ("cancel", {"client_order_id": "one"}),
    ("cancel", {"client_order_id": "one"}),
    ("amend", {"client_order_id": "one", "price": "8"}),
    ("batch", {"items": [{"place": {"side": "buy", "price": "3", "quantity": "1"}}, {"cancel": {"order_id": 10**12}}]}),
    ("batch", {"items": [{"place": {"side": "buy", "price": "3.001", "quantity": "1"}}], "all_or_nothing": True}),
    ("batch", {"items": []}),
    ("cancel_all", {"side": "buy"}),
    ("cancel_all", {"side": "up"}),
    ("cancel_all_after", {"seconds": 1000}),
    ("cancel_all_after", {"seconds": "-1"}),
    ("cancel_all_after", {"seconds": 0}),
]


def settled(op: str, fields: dict[str, Any], symbol: str, account: str) -> dict[str, Any]:
    """With instrument and account filled in."""
    if op == "place":
        return {"symbol": symbol, "account": account} | fields
    if op == "batch":
        items = [
            {action: ({"symbol": symbol, "account": account} | item if action == "place" else item)}
            for each in fields["items"]
            for action, item in each.items()
        ]
        return fields | {"items": items}
    return {"account": account} | fields


async def over_rest(http: httpx.AsyncClient, op: str, fields: dict[str, Any]) -> Any:
    if op == "place":
        response = await http.post("/orders", json=fields)
    elif op == "batch":
        response = await http.post("/orders/batch", json=fields)
    elif op == "cancel_all":
        response = await http.delete("/orders", params=fields)
    elif op == "cancel_all_after":
        account = fields.pop("account")
        response = await http.put(f"/accounts/{account}/cancel-all-after", json=fields)
    else:
        account, name = fields.pop("account"), fields.pop("client_order_id")
        method = "PUT" if op == "amend" else "DELETE"
        response = await http.request(
            method,
            f"/orders/by-client-id/{name}",
            params={"account": account},
            json=fields if op == "amend" else None,
        )
    return response.json()


async def over_websocket(client: StreamClient, op: str, fields: dict[str, Any]) -> Any:
    number = client._count = client._count + 1
    await client.socket.send(json.dumps({"id": number, "op": op, **fields}))
    answer = await client.answer(number)
    if answer["type"] == "error":
        return answer["problem"]
    if "order" in answer:
        return answer["order"]
    return {name: value for name, value in answer.items() if name not in ("id", "type", "replayed")}


def comparable(content: Any) -> Any:
    """Without what must differ: ids, sequences, times, and the names of instrument and account."""
    if isinstance(content, dict):
        return {
            name: comparable(value)
            for name, value in content.items()
            if name not in ("order_id", "trade_id", "maker_order_id", "taker_order_id", "sequence", "symbol", "account")
            and not (name.endswith("_at") and name != "expires_at")
            and name != "deadline"
        }
    if isinstance(content, list):
        return [comparable(each) for each in content]
    return (
        re.sub(r"(SAME|same)-(rest|ws)", "X", re.sub(r"\b[1-9]\d*\b(?!\.)", "N", content))
        if isinstance(content, str)
        else content
    )


async def test_the_same_both_ways(stack: Stack) -> None:
    port = int(stack.ws.rsplit(":", 1)[1])
    async with (
        httpx.AsyncClient(base_url=stack.http, timeout=30, trust_env=False) as http,
        StreamClient.connected(port) as client,
    ):
        for way in ("rest", "ws"):
            sizes = {"tick_size": "0.01", "lot_size": "0.001"}
            assert (await http.put(f"/instruments/SAME-{way}", json=sizes)).status_code < 300
            for _ in range(2):
                await http.post("/orders", json=RESTING | {"symbol": f"SAME-{way}", "account": "maker"})
        for op, fields in REQUESTS:
            rest = await over_rest(http, op, settled(op, dict(fields), "SAME-rest", "same-rest"))
            ws = await over_websocket(client, op, settled(op, dict(fields), "SAME-ws", "same-ws"))
            assert comparable(ws) == comparable(rest), (op, fields)
            assert ("code" in rest) == ("code" in ws)
