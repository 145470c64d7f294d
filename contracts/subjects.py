"""Names on the wire: streams and subjects. docs/subjects.md explains each to its users."""

JOURNAL_STREAM = "JOURNAL"
JOURNAL = "journal"

# Requests that commands come in by
ORDERS_SUBMIT = "orders.submit"
"""To the matcher: a MessagePack tuple of commands, answered by a Reply."""
ORDERS_PLACE = "orders.place"
ORDERS_CANCEL = "orders.cancel"
ORDERS_AMEND = "orders.amend"
"""To any gateway: the JSON of the REST interface, for people."""

# What each service can be asked, and says by itself
MATCHER_STATUS = "matcher.status"
MATCHER_STATE_HASH = "matcher.state_hash"
MATCHER_INSTRUMENTS = "matcher.instruments"
MATCHER_ORDER = "matcher.order"
MATCHER_TAKEN_OVER = "matcher.taken_over"
"""Published by a matcher once its barrier is durable, so that the one before it stops."""
RECORDER_STATUS = "recorder.status"
RECORDER_POSITION = "recorder.position"
"""Published by the recorder after each transaction: the journal sequence that Postgres has reached."""
BROADCASTER_STATUS = "broadcaster.status"
BROADCASTER_DEPTH = "broadcaster.depth"
BROADCASTER_MARKET = "broadcaster.market"

# Public market data, JSON
PUBLIC_MARKET_DATA = "market.>"


def market_trades(symbol: str) -> str:
    """Every trade of the symbol, in order: a TradeView each."""
    return f"market.{symbol}.trades"


def market_book(symbol: str) -> str:
    """The best levels of the symbol, each second: a DepthView."""
    return f"market.{symbol}.book"
