"""The exchange in the containers, as its users reach it, and the few things that every scenario asks of it."""

import json
import ssl
import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import httpx
from websockets.sync.client import connect
from websockets.typing import Origin


class Expected(AssertionError):
    """What was seen instead is in the message."""


def expect(is_so: bool, what: str, seen: object = "") -> None:
    if not is_so:
        raise Expected(f"expected {what}; {seen}")


class Exchange:
    """`origin` is that of REST, `sockets` that of the WebSocket. With `trust`, certificates are judged by that file."""

    def __init__(
        self, origin: str = "http://127.0.0.1:8000", sockets: str = "ws://127.0.0.1:8001", trust: str | None = None
    ) -> None:
        self.origin, self._sockets = origin, sockets
        self._tls = ssl.create_default_context(cafile=trust) if trust else None
        self._http = httpx.Client(base_url=origin, trust_env=False, timeout=15, verify=self._tls or True)
        self.key = ""

    def get(self, path: str) -> httpx.Response:
        return self._http.get(path, headers=self._headers)

    def read(self, path: str) -> Any:
        answer = self.get(path)
        expect(answer.status_code == 200, f"200 from {path}", f"{answer.status_code} {answer.text[:300]}")
        return answer.json()

    @property
    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"} if self.key else {}

    def place(self, side: str, price: str, quantity: str, *, patience: float = 60.0) -> dict[str, Any]:
        """Sent again, as the same order, until it is answered: what any client should do."""
        order = {"side": side, "price": price, "quantity": quantity, "account": "anna", "client_order_id": uuid4().hex}
        deadline = time.monotonic() + patience
        while True:
            try:
                answer = self._http.post("/orders", json=order, headers=self._headers)
                if answer.status_code in (200, 201):
                    placed: dict[str, Any] = answer.json()
                    return placed
                said = f"{answer.status_code} {answer.text[:300]}"
                expect(answer.status_code in (502, 503, 504), "the order to be taken", said)
            except httpx.TransportError as error:
                said = repr(error)
            expect(time.monotonic() < deadline, "an answer to an order", said)
            time.sleep(0.02)

    def place_once(self, side: str, price: str, quantity: str) -> httpx.Response:
        order = {"side": side, "price": price, "quantity": quantity, "account": "anna", "client_order_id": uuid4().hex}
        return self._http.post("/orders", json=order, headers=self._headers)

    def trade(self, price: str) -> dict[str, Any]:
        """Two orders that meet, and what history and depth say of it."""
        maker = self.place("sell", price, "1")
        taker = self.place("buy", price, "1")
        trades = self.read("/trades?limit=1")["items"]
        expect(trades[0]["taker_order_id"] == taker["order_id"], "the trade in the history", trades)
        expect(trades[0]["maker_order_id"] == maker["order_id"], "the right maker", trades)
        return {"maker": maker, "taker": taker, "trade": trades[0]}

    def orders(self) -> dict[int, Any]:
        """Every order there is, by id, as history has it."""
        found: dict[int, Any] = {}
        cursor = ""
        while True:
            page = self.read(f"/orders?limit=1000{cursor}")
            found |= {each["order_id"]: each for each in page["items"]}
            if not page.get("next_cursor"):
                return found
            cursor = f"&cursor={page['next_cursor']}"

    def trade_by_socket(self, price: str) -> dict[str, Any]:
        """A subscription, an order placed over the same connection, and the trade that it sees."""
        with connect(f"{self._sockets}/ws", ssl=self._tls, open_timeout=10, origin=Origin(self.origin)) as socket:
            if self.key:
                socket.send(json.dumps({"id": 0, "op": "auth", "key": self.key}))
            socket.send(json.dumps({"id": 1, "op": "subscribe", "channel": "trades", "symbol": "BTC-USD"}))
            _until(socket.recv, lambda message: message.get("type") == "subscribed")
            for side in ("sell", "buy"):
                order = {"id": side, "op": "place", "side": side, "price": price, "quantity": "1", "account": "anna"}
                socket.send(json.dumps(order))
            update = _until(socket.recv, lambda message: "trade" in message)
            seen: dict[str, Any] = update["trade"]
            return seen


def _until(receive: Callable[..., str | bytes], found: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    deadline = time.monotonic() + 15
    seen: list[object] = []
    while True:
        try:
            message: dict[str, Any] = json.loads(receive(timeout=max(0.1, deadline - time.monotonic())))
        except TimeoutError:
            raise Expected(f"nothing more came over the WebSocket after {seen[-5:]}") from None
        seen.append(message)
        expect(message.get("type") != "error", "no error", message)
        if found(message):
            return message
