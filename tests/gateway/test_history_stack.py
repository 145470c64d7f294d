"""History on a whole running exchange: what was just answered is in the next read, candle and export."""

import csv
import io
from collections.abc import Iterator

import httpx
import pytest

from tests.support.stack import Stack

pytestmark = pytest.mark.stack

SYMBOL = "HISTORY"


@pytest.fixture
def http(stack: Stack) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=stack.http, timeout=30, trust_env=False) as client:
        assert client.put(f"/instruments/{SYMBOL}", json={"tick_size": "0.01", "lot_size": "1"}).is_success
        yield client


def test_an_orders_life_is_there_at_once(http: httpx.Client) -> None:
    def place(side: str, price: str, account: str, **terms: str) -> int:
        body = {"symbol": SYMBOL, "side": side, "price": price, "quantity": "5", "account": account, **terms}
        placed = http.post("/orders", json=body)
        assert placed.status_code == 201, placed.text
        order_id: int = placed.json()["order_id"]
        return order_id

    maker = place("sell", "10.00", "history-1")
    stop = place("buy", "11.00", "history-2", type="stop_limit", stop_price="10.00")
    assert http.put(f"/orders/{maker}", json={"quantity": "7"}).is_success
    taker = place("buy", "10.00", "history-3")
    assert http.delete(f"/orders/{stop}").is_success

    def life(order_id: int) -> list[tuple[str, str, str]]:
        items = http.get(f"/orders/{order_id}/history").json()["items"]
        return [(item["event"], item["quantity"], item["filled_quantity"]) for item in items]

    assert life(maker) == [("accepted", "5", "0"), ("amended", "7", "0"), ("trade", "7", "5"), ("trade", "7", "7")]
    assert life(taker) == [("accepted", "5", "0"), ("trade", "5", "5")]
    assert life(stop) == [("accepted", "5", "0"), ("triggered", "5", "0"), ("trade", "5", "2"), ("canceled", "5", "2")]
    assert http.get("/accounts/history-1").json()["positions"] == {SYMBOL: "-7"}
    assert http.get("/accounts/history-2").json()["positions"] == {SYMBOL: "2"}
    (candle,) = http.get(f"/market/{SYMBOL}/candles?interval=1d").json()["items"]
    assert (candle["open"], candle["volume"], candle["trades"]) == ("10.00", "7", 2)
    rows = list(csv.DictReader(io.StringIO(http.get(f"/export/trades?symbol={SYMBOL}").text, newline="")))
    assert [(row["maker_order_id"], row["quantity"]) for row in rows] == [(str(maker), "5"), (str(maker), "2")]
    orders = http.get(f"/export/orders?symbol={SYMBOL}&format=ndjson&account=history-2").text
    assert orders.count("\n") == 1
    assert f'"order_id":{stop},' in orders
