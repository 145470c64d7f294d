"""Names on the wire: streams and subjects. docs/nats.md explains each to its users."""

JOURNAL_STREAM = "JOURNAL"
JOURNAL = "journal"

# Requests that commands come in by
ORDERS_SUBMIT = "orders.submit"
"""To the matcher: a MessagePack tuple of commands, answered by a Reply."""
ORDERS_PLACE = "orders.place"
ORDERS_CANCEL = "orders.cancel"
ORDERS_AMEND = "orders.amend"
ORDERS_CANCEL_ALL = "orders.cancel_all"
ORDERS_BATCH = "orders.batch"
"""To any gateway: the JSON of the REST interface, for people."""
ACCOUNT_ORDERS = "accounts.*.orders.*"
"""The same for one account (see `account_request`): what a user may publish is whose orders it may touch."""

COMMANDS_STREAM = "COMMANDS"
COMMANDS = "commands.*"
"""Requests stored to be carried out later, one subject each; what became of them is in COMMAND_RESULTS."""
COMMAND_RESULTS = "COMMAND_RESULTS"
"""Key-value bucket: what became of each stored request."""
MATCHER_BUCKET = "MATCHER"
"""Key-value bucket: who should be the matcher, renewed while it is."""
KEYS = "KEYS"
"""Key-value bucket: the API keys, hashed."""
KEYS_CHANGED = "keys.changed.>"
"""Published by the server, without content, when a change of the API keys is stored."""

# What each service can be asked, and says by itself
MATCHER_STATUS = "matcher.status"
MATCHER_STATE_HASH = "matcher.state_hash"
MATCHER_INSTRUMENTS = "matcher.instruments"
MATCHER_ORDER = "matcher.order"
MATCHER_TAKEN_OVER = "matcher.taken_over"
"""Published by a matcher once its barrier is durable, so that the one before it stops, and clients send again."""
MATCHER_STANDBY = "matcher.standby"
"""Asked of every matcher that stands by."""
MATCHER_HANDOVER = "matcher.handover"
"""Tells the matcher to let a standby go on in its place."""
MATCHER_LEASE_CHANGED = "matcher.lease_changed"
"""Published by a matcher that gives its lease away, so that the others look at once."""
RECORDER_STATUS = "recorder.status"
RECORDER_COMMITS = "recorder.commits"
"""The journal's own messages as Postgres keeps them, for those who find them trimmed: MessagePack."""
RECORDER_HOLDS = "recorder.holds"
"""Whether Postgres holds these commits undamaged, and for good: asked before the journal is trimmed."""
RECORDER_POSITION = "recorder.position"
"""Published by the recorder after each transaction: the journal sequence that Postgres has reached."""
BROADCASTER_STATUS = "broadcaster.status"
BROADCASTER_DEPTH = "broadcaster.depth"
BROADCASTER_MARKET = "broadcaster.market"

# Private to an account, JSON


def account_orders(account: str) -> str:
    """Every change of the account's orders: an OrderUpdate each."""
    return f"accounts.{account}.orders"


def account_request(account: str, request: str) -> str:
    """A request for one account: place, cancel, amend, cancel_all or batch."""
    return f"accounts.{account}.orders.{request}"


# Public market data, JSON
MARKET_STREAM = "MARKET"
"""In-memory stream of what was published on market.> lately."""
PUBLIC_MARKET_DATA = "market.>"


def market_trades(symbol: str) -> str:
    """Every trade of the symbol, in order: a TradeView each."""
    return f"market.{symbol}.trades"


def market_book(symbol: str) -> str:
    """The best levels of the symbol, each second: a DepthView."""
    return f"market.{symbol}.book"


def market_ticker(symbol: str) -> str:
    """Best prices, last trade and the last 24 hours, when they change, at most once a second: a MarketView."""
    return f"market.{symbol}.ticker"


def market_candles(symbol: str, interval: str) -> str:
    """The candle of the interval that is being formed, at most once a second, and once when it is complete."""
    return f"market.{symbol}.candles.{interval}"


def market_status(symbol: str) -> str:
    """The instrument each time it changes: an InstrumentView."""
    return f"market.{symbol}.status"
