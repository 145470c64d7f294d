"""A client of Pricetime: orders, reads and streams, typed; retries and resyncing built in. docs/client.md.

It needs httpx, websockets and msgspec, and nothing else of this repository.
"""

from pricetime_client.async_exchange import AsyncExchange
from pricetime_client.blocking_stream import BlockingBookFeed, BlockingStream, BlockingSubscription
from pricetime_client.book import Gap, LocalBook
from pricetime_client.errors import ExchangeError, NoAnswer, Refusal
from pricetime_client.exchange import Exchange
from pricetime_client.fields import AmendFields, BatchItem, OrderFields
from pricetime_client.messages import (
    BookChange,
    BookSnapshot,
    CandleMessage,
    Message,
    OrdersSnapshot,
    OrderUpdate,
    StatusMessage,
    TickerMessage,
    TradeMessage,
)
from pricetime_client.stream import BookFeed, Stream, Subscription
from pricetime_client.views import (
    Account,
    BatchResult,
    Candle,
    Depth,
    Instrument,
    Level,
    Order,
    OrderEvent,
    Problem,
    Side,
    Status,
    Ticker,
    Trade,
)

__all__ = [
    "Account",
    "AmendFields",
    "AsyncExchange",
    "BatchItem",
    "BatchResult",
    "BlockingBookFeed",
    "BlockingStream",
    "BlockingSubscription",
    "BookChange",
    "BookFeed",
    "BookSnapshot",
    "Candle",
    "CandleMessage",
    "Depth",
    "Exchange",
    "ExchangeError",
    "Gap",
    "Instrument",
    "Level",
    "LocalBook",
    "Message",
    "NoAnswer",
    "Order",
    "OrderEvent",
    "OrderFields",
    "OrderUpdate",
    "OrdersSnapshot",
    "Problem",
    "Refusal",
    "Side",
    "Status",
    "StatusMessage",
    "Stream",
    "Subscription",
    "Ticker",
    "TickerMessage",
    "Trade",
    "TradeMessage",
]
