import json

from bench.flow import Flow
from bench.measure_rest import order_body
from contracts.messages import OrderType, PlaceOrder, Side, TimeInForce


def test_an_order_is_written_as_a_client_writes_it() -> None:
    order = PlaceOrder("BTC-USD", Side.SELL, OrderType.LIMIT, 150_000_000, 3_000_001, TimeInForce.IOC)
    assert json.loads(order_body(order)) == {
        "symbol": "BTC-USD",
        "side": "sell",
        "type": "limit",
        "price": "30000.01",
        "quantity": "1.50000000",
        "time_in_force": "IOC",
    }


def test_every_order_of_the_flow_can_be_written() -> None:
    assert all(order_body(command) for command in Flow(1, cancels=0).next_commands(2_000))
