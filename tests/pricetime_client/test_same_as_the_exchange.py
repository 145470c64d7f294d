"""The client says the same as the exchange: every field and value by its name; and both clients say the same."""

import inspect
from enum import Enum
from typing import Any, get_args, get_type_hints

import msgspec
import pytest

from broadcaster import messages as exchange_messages
from broadcaster.protocol import CHANNELS, ORDER_OPERATIONS
from contracts import messages as contracts
from contracts import views as exchange_views
from contracts.candles import INTERVALS
from entry import commands
from entry import views as entry_views
from entry.administration import INSTRUMENT_FIELDS
from entry.batches import ITEM_FIELDS
from entry.problems import ProblemView
from gateway import health, places
from gateway import views as gateway_views
from pricetime_client import (
    AsyncExchange,
    BlockingBookFeed,
    BlockingStream,
    BlockingSubscription,
    BookFeed,
    Exchange,
    Stream,
    Subscription,
    calls,
    fields,
    messages,
    views,
)
from pricetime_client.orders import AsyncOrders, Orders
from pricetime_client.subscriptions import SubscriptionFields
from pricetime_client.ways import OverSocket

PAIRS = {
    views.Trade: exchange_views.TradeView,
    views.Order: exchange_views.OrderView,
    views.OrderEvent: gateway_views.OrderEventView,
    views.Depth: exchange_views.DepthView,
    views.Ticker: exchange_views.MarketView,
    views.Candle: exchange_views.CandleView,
    views.Instrument: exchange_views.InstrumentView,
    views.Canceled: entry_views.CanceledView,
    views.Replaced: entry_views.ReplacedView,
    views.DeadMansSwitch: entry_views.CancelAllAfterView,
    views.SymbolLimits: entry_views.SymbolLimitsView,
    views.AccountLimits: entry_views.AccountLimitsView,
    views.Account: gateway_views.AccountView,
    views.KillSwitch: entry_views.KillSwitchView,
    views.Check: health.Check,
    views.Status: health.Readiness,
    views.BatchResult: entry_views.BatchItemView,
    calls.Config: places.PublicConfig,
    messages.TradeMessage: exchange_messages.TradeMessage,
    messages.BookSnapshot: exchange_messages.BookSnapshot,
    messages.BookChange: exchange_messages.BookChange,
    messages.TickerMessage: exchange_messages.TickerMessage,
    messages.CandleMessage: exchange_messages.CandleMessage,
    messages.StatusMessage: exchange_messages.StatusMessage,
    messages.OrdersSnapshot: exchange_messages.OrdersSnapshot,
    messages.OrderUpdate: exchange_messages.OrderUpdate,
    messages.Heartbeat: exchange_messages.Heartbeat,
}


@pytest.mark.parametrize("mine", PAIRS, ids=lambda kind: kind.__name__)
def test_every_field_of_an_answer_is_known(mine: Any) -> None:
    assert set(mine.__struct_fields__) == set(PAIRS[mine].__struct_fields__)


def test_every_field_of_a_problem_is_known() -> None:
    assert {*views.Problem.__struct_fields__, "type"} == set(ProblemView.__struct_fields__)


def values(kind: type[Enum]) -> set[str]:
    return {each.value for each in kind}


@pytest.mark.parametrize(
    ("mine", "theirs"),
    [
        (views.Side, values(contracts.Side)),
        (views.OrderType, values(contracts.OrderType)),
        (views.TimeInForce, values(contracts.TimeInForce)),
        (views.SelfTradePrevention, values(contracts.SelfTradePrevention)),
        (views.OrderStatus, values(contracts.OrderStatus)),
        (views.InstrumentStatus, values(contracts.InstrumentStatus)),
        (views.Interval, set(INTERVALS)),
        (messages.Channel, set(CHANNELS)),
    ],
)
def test_every_value_is_known(mine: Any, theirs: set[str]) -> None:
    assert set(get_args(mine)) == theirs


@pytest.mark.parametrize(
    ("mine", "theirs"),
    [
        (fields.OrderFields, commands.PLACE_FIELDS),
        (fields.AmendFields, commands.AMEND_FIELDS),
        (fields.CancelAllFilters, commands.CANCEL_ALL_FIELDS),
        (fields.BatchItem, ITEM_FIELDS),
        (fields.AmendItem, ITEM_FIELDS["amend"]),
        (fields.CancelItem, ITEM_FIELDS["cancel"]),
        (fields.InstrumentFields, INSTRUMENT_FIELDS),
        (SubscriptionFields, {name for taken in CHANNELS.values() for name in taken}),
    ],
)
def test_every_field_of_a_request_can_be_given(mine: Any, theirs: Any) -> None:
    assert set(mine.__annotations__) == set(theirs)


def public(kind: type) -> dict[str, inspect.Signature]:
    return {
        name: inspect.signature(method)
        for name, method in inspect.getmembers(kind, inspect.isfunction)
        if name[0] != "_"
    }


ORDERS = {"place", "amend", "cancel", "cancel_all", "batch", "cancel_all_after"}
"""What a stream takes as well."""


@pytest.mark.parametrize(
    ("blocking", "in_a_loop"),
    [
        (Exchange, AsyncExchange),
        (BlockingStream, Stream),
        (BlockingSubscription, Subscription),
        (BlockingBookFeed, BookFeed),
    ],
)
def test_blocking_or_not_there_are_the_same_methods(blocking: type, in_a_loop: type) -> None:
    mine, theirs = public(blocking), public(in_a_loop)
    only_blocking = {"wait", "advance", "catch_up", "get"}
    assert mine.keys() - only_blocking == theirs.keys()
    for name in theirs:
        assert mine[name].parameters == theirs[name].parameters
        if name not in ("stream", "subscribe", "book"):
            assert getattr(blocking, name).__doc__ == getattr(in_a_loop, name).__doc__


@pytest.mark.parametrize("kind", [Exchange, AsyncExchange, Stream, BlockingStream])
def test_orders_are_the_same_wherever_they_are_sent(kind: type) -> None:
    shared = AsyncOrders if kind in (AsyncExchange, Stream) else Orders
    assert set(public(shared)) == ORDERS
    assert all(getattr(kind, name) is getattr(shared, name) for name in ORDERS)


def test_every_operation_about_orders_can_be_said() -> None:
    assert set(public(OverSocket)) == {*ORDER_OPERATIONS, "cancel_on_disconnect"}


def test_every_answer_about_orders_is_understood() -> None:
    kinds = (
        exchange_messages.OrderAnswer,
        exchange_messages.BatchAnswer,
        exchange_messages.CanceledAll,
        exchange_messages.CanceledAllAfter,
        exchange_messages.CancelOnDisconnect,
    )
    said = {value for kind in kinds for value in get_args(get_type_hints(kind)["type"])}
    assert said == set(messages.ANSWERS)


def test_what_a_newer_exchange_adds_is_passed_over() -> None:
    found = msgspec.convert({"canceled": 1, "sequence": 2, "news": []}, views.Canceled)
    assert found == views.Canceled(canceled=1, sequence=2)
