"""Names on the wire are promises: none changes by accident."""

from contracts import subjects


def test_names() -> None:
    names = {name: value for name, value in vars(subjects).items() if name.isupper()}
    assert names == {
        "JOURNAL_STREAM": "JOURNAL",
        "JOURNAL": "journal",
        "ORDERS_SUBMIT": "orders.submit",
        "ORDERS_PLACE": "orders.place",
        "ORDERS_CANCEL": "orders.cancel",
        "ORDERS_AMEND": "orders.amend",
        "ORDERS_CANCEL_ALL": "orders.cancel_all",
        "ORDERS_BATCH": "orders.batch",
        "ACCOUNT_ORDERS": "accounts.*.orders.*",
        "COMMANDS_STREAM": "COMMANDS",
        "COMMANDS": "commands.*",
        "COMMAND_RESULTS": "COMMAND_RESULTS",
        "MATCHER_BUCKET": "MATCHER",
        "KEYS": "KEYS",
        "KEYS_CHANGED": "keys.changed.>",
        "MATCHER_STATUS": "matcher.status",
        "MATCHER_STATE_HASH": "matcher.state_hash",
        "MATCHER_INSTRUMENTS": "matcher.instruments",
        "MATCHER_ORDER": "matcher.order",
        "MATCHER_TAKEN_OVER": "matcher.taken_over",
        "MATCHER_STANDBY": "matcher.standby",
        "MATCHER_HANDOVER": "matcher.handover",
        "MATCHER_LEASE_CHANGED": "matcher.lease_changed",
        "RECORDER_STATUS": "recorder.status",
        "RECORDER_COMMITS": "recorder.commits",
        "RECORDER_HOLDS": "recorder.holds",
        "RECORDER_POSITION": "recorder.position",
        "BROADCASTER_STATUS": "broadcaster.status",
        "BROADCASTER_DEPTH": "broadcaster.depth",
        "BROADCASTER_MARKET": "broadcaster.market",
        "MARKET_STREAM": "MARKET",
        "PUBLIC_MARKET_DATA": "market.>",
    }


def test_market_subjects() -> None:
    assert subjects.market_trades("BTC-USD") == "market.BTC-USD.trades"
    assert subjects.market_book("BTC-USD") == "market.BTC-USD.book"
    assert subjects.market_ticker("BTC-USD") == "market.BTC-USD.ticker"
    assert subjects.market_candles("BTC-USD", "1m") == "market.BTC-USD.candles.1m"
    assert subjects.market_status("BTC-USD") == "market.BTC-USD.status"


def test_account_subjects() -> None:
    assert subjects.account_orders("anna") == "accounts.anna.orders"
    assert subjects.account_request("anna", "cancel_all") == "accounts.anna.orders.cancel_all"
