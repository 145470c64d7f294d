"""Every operation of the REST interface: its parameters, its body, each answer and each code that it can give."""

from collections.abc import Sequence
from dataclasses import dataclass

from contracts.keys import Scope
from contracts.messages import RejectReason
from gateway.http import JOURNAL_SEQUENCE

REPLAYED = "Idempotent-Replayed"
KEY = "Idempotency-Key"


@dataclass(frozen=True, slots=True)
class Operation:
    """One method at one address. `answers`: status to (description, schema name, names of the headers).

    `is_deferrable`: `Prefer: respond-async` has it stored and answered with 202.
    """

    method: str
    path: str
    name: str
    summary: str
    description: str
    answers: dict[int, tuple[str, str, tuple[str, ...]]]
    codes: Sequence[str] = ()
    parameters: Sequence[str] = ()
    body: str | None = None
    tag: str = "orders"
    scope: Scope | None = None
    is_deferrable: bool = False


_BODY_CODES = (
    "malformed_json",
    "missing_field",
    "unknown_field",
    "duplicate_field",
    "invalid_type",
    "invalid_value",
    "not_a_decimal",
    "body_too_large",
    "unsupported_media_type",
)
_COMMAND_CODES = ("overloaded", "matcher_unavailable", "result_unknown")
_HISTORY_CODES = ("history_unavailable", "reads_behind", "unknown_sequence", "invalid_parameter")
_MARKET_CODES = ("market_data_unavailable", "reads_behind", "unknown_sequence", "invalid_parameter")
_COMMAND_HEADERS = (JOURNAL_SEQUENCE,)
_PLACED_HEADERS = ("Location", *_COMMAND_HEADERS, REPLAYED)
_LIST_PARAMETERS = ("limit", "cursor", JOURNAL_SEQUENCE)


def _reasons(*reasons: RejectReason) -> tuple[str, ...]:
    return tuple(reason.value for reason in reasons)


_STATUS_REFUSALS = _reasons(RejectReason.INSTRUMENT_HALTED, RejectReason.INSTRUMENT_CANCEL_ONLY)
_PRICE_REFUSALS = _reasons(
    RejectReason.PRICE_OUT_OF_RANGE,
    RejectReason.PRICE_OUTSIDE_BAND,
    RejectReason.PRICE_NOT_ALLOWED,
    RejectReason.STOP_PRICE_NOT_ALLOWED,
    RejectReason.QUANTITY_OUT_OF_RANGE,
    RejectReason.POST_ONLY_WOULD_TRADE,
    RejectReason.INSTRUMENT_POST_ONLY,
    RejectReason.MAX_ORDER_QUANTITY,
    RejectReason.MAX_ORDER_NOTIONAL,
    RejectReason.MAX_POSITION,
    RejectReason.KILL_SWITCH_ENGAGED,
)
_PLACE_REFUSALS = (
    "off_tick",
    "off_lot",
    "off_notional",
    *_STATUS_REFUSALS,
    *_PRICE_REFUSALS,
    *_reasons(
        RejectReason.UNKNOWN_SYMBOL,
        RejectReason.INVALID_SYMBOL,
        RejectReason.INVALID_ACCOUNT,
        RejectReason.INVALID_CLIENT_ORDER_ID,
        RejectReason.PRICE_REQUIRED,
        RejectReason.STOP_PRICE_REQUIRED,
        RejectReason.DISPLAY_QUANTITY_NOT_ALLOWED,
        RejectReason.DISPLAY_QUANTITY_OUT_OF_RANGE,
        RejectReason.PROTECTION_PRICE_NOT_ALLOWED,
        RejectReason.NOTIONAL_NOT_ALLOWED,
        RejectReason.NOTIONAL_OUT_OF_RANGE,
        RejectReason.NOTIONAL_TOO_SMALL,
        RejectReason.NO_LIQUIDITY,
        RejectReason.TIME_IN_FORCE_NOT_ALLOWED,
        RejectReason.EXPIRY_REQUIRED,
        RejectReason.EXPIRY_NOT_ALLOWED,
        RejectReason.EXPIRY_IN_THE_PAST,
        RejectReason.POST_ONLY_NOT_ALLOWED,
        RejectReason.INSTRUMENT_DELISTED,
        RejectReason.MAX_OPEN_ORDERS,
        RejectReason.TOO_MANY_ORDERS,
        RejectReason.DUPLICATE_CLIENT_ORDER_ID,
    ),
)
_AMEND_CODES = (
    *_BODY_CODES,
    "invalid_parameter",
    "off_tick",
    "off_lot",
    "unknown_order",
    "order_not_resting",
    "nothing_to_amend",
    *_STATUS_REFUSALS,
    *_PRICE_REFUSALS,
    *_COMMAND_CODES,
)
_CANCEL_CODES = ("invalid_parameter", "unknown_order", "order_not_resting", "instrument_halted", *_COMMAND_CODES)
_BY_NAME_CODES = ("invalid_account", "invalid_client_order_id", "history_unavailable", "reads_behind")
_BATCH_REFUSALS = _reasons(
    RejectReason.UNKNOWN_ORDER,
    RejectReason.NOTHING_TO_AMEND,
    RejectReason.INVALID_BATCH,
    RejectReason.SAME_ORDER_TWICE,
    RejectReason.AMENDMENT_WOULD_TRADE,
)

_ORDERS = (
    Operation(
        "post",
        "/orders",
        "placeOrder",
        "Place an order",
        "Answers when the order is on disk, with the trades that it led to. An order that finds nothing and may not "
        "rest (IOC, FOK, market) is a 201 with status `canceled` and the reason. Send a client_order_id, or the header "
        "Idempotency-Key, which is the same: then the same order can be sent again without risk. It is placed once and "
        "its first answer is given again.",
        {201: ("The order, with its trades so far", "Order", _PLACED_HEADERS)},
        (*_BODY_CODES, "idempotency_key_mismatch", *_PLACE_REFUSALS, *_COMMAND_CODES, "journal_unavailable"),
        (KEY,),
        "PlaceOrder",
        scope=Scope.TRADE,
        is_deferrable=True,
    ),
    Operation(
        "delete",
        "/orders",
        "cancelOrders",
        "Cancel every open order that fits",
        "Stop orders that wait for their trigger included; those of halted instruments are left alone. Without "
        "filters: all orders of all accounts that the key covers; without keys, everybody's.",
        {200: ("How many were canceled", "Canceled", _COMMAND_HEADERS)},
        (
            "invalid_value",
            "invalid_parameter",
            "invalid_account",
            "invalid_symbol",
            "unknown_symbol",
            "instrument_halted",
            *_COMMAND_CODES,
        ),
        ("account", "symbol", "side"),
        scope=Scope.TRADE,
        is_deferrable=True,
    ),
    Operation(
        "post",
        "/orders/batch",
        "sendBatch",
        "Place, cancel and amend many orders",
        "Item by item, each with its own result and the status that it would have had alone; or, with all_or_nothing, "
        "all of them together or none: then cancelations come first, amendments second, orders last, and the first "
        "item that would be refused as things stand refuses them all (`item` in the problem). Counts as as many "
        "requests as it has items.",
        {200: ("A result for each item, in their order", "BatchAnswer", (*_COMMAND_HEADERS, REPLAYED))},
        (
            *_BODY_CODES,
            "invalid_parameter",
            "order_not_resting",
            *_BATCH_REFUSALS,
            *_PLACE_REFUSALS,
            *_COMMAND_CODES,
            "journal_unavailable",
        ),
        (),
        "Batch",
        scope=Scope.TRADE,
        is_deferrable=True,
    ),
    Operation(
        "get",
        "/orders",
        "listOrders",
        "List orders, newest first",
        "Every order ever accepted that passes all the filters. With client_order_id and no account, the account is "
        "the only one that the key has, else `default`: a client_order_id is a name within an account.",
        {200: ("A page of orders", "Orders", ())},
        ("invalid_cursor", "invalid_value", *_HISTORY_CODES),
        ("symbol", "account", "status", "side", "client_order_id", *_LIST_PARAMETERS),
        scope=Scope.READ,
    ),
    Operation(
        "get",
        "/orders/{order_id}",
        "getOrder",
        "One order",
        "As it stands after everything that you have been told.",
        {200: ("The order", "Order", ())},
        ("unknown_order", *_HISTORY_CODES),
        ("order_id", JOURNAL_SEQUENCE),
        scope=Scope.READ,
    ),
    Operation(
        "put",
        "/orders/{order_id}",
        "amendOrder",
        "Amend price, quantity or stop price",
        "`quantity` is the new total, fills included. A smaller quantity at the same price keeps the order's place in "
        "the queue (`priority_kept`); anything else sends it to the back, and a new price may trade at once.",
        {200: ("The order after the change, with the trades that it led to", "Order", _COMMAND_HEADERS)},
        (*_AMEND_CODES, "history_unavailable", "reads_behind"),
        ("order_id",),
        "AmendOrder",
        scope=Scope.TRADE,
        is_deferrable=True,
    ),
    Operation(
        "delete",
        "/orders/{order_id}",
        "cancelOrder",
        "Cancel what is left of an order",
        "",
        {200: ("The canceled order", "Order", _COMMAND_HEADERS)},
        _CANCEL_CODES,
        ("order_id",),
        scope=Scope.TRADE,
        is_deferrable=True,
    ),
    Operation(
        "post",
        "/orders/{order_id}/replace",
        "replaceOrder",
        "Cancel an order and place another one",
        "Both or neither. The new order is described like any other.",
        {201: ("The order that went and the one that came", "Replaced", _PLACED_HEADERS)},
        (
            *_BODY_CODES,
            "invalid_parameter",
            "unknown_order",
            "order_not_resting",
            *_PLACE_REFUSALS,
            *_COMMAND_CODES,
            "journal_unavailable",
        ),
        ("order_id",),
        "PlaceOrder",
        scope=Scope.TRADE,
        is_deferrable=True,
    ),
    Operation(
        "get",
        "/orders/{order_id}/history",
        "getOrderHistory",
        "Every change of an order, in order",
        "From its acceptance on, each trade, amendment and trigger, and how it ended, with the order after it.",
        {200: ("A page of events", "OrderEvents", ())},
        ("unknown_order", "invalid_cursor", *_HISTORY_CODES),
        ("order_id", *_LIST_PARAMETERS),
        scope=Scope.READ,
    ),
    Operation(
        "get",
        "/orders/{order_id}/trades",
        "listOrderTrades",
        "The trades of an order, newest first",
        "",
        {200: ("A page of trades", "Trades", ())},
        ("unknown_order", "invalid_cursor", *_HISTORY_CODES),
        ("order_id", *_LIST_PARAMETERS),
        scope=Scope.READ,
    ),
    Operation(
        "get",
        "/orders/by-client-id/{client_order_id}",
        "getOrderByClientOrderId",
        "One order, by the name that its account gave it",
        "The account is the only one that the key has, else `default`, unless you name it.",
        {200: ("The order", "Order", ())},
        ("unknown_order", "invalid_account", "invalid_client_order_id", *_HISTORY_CODES),
        ("client_order_id in path", "account", JOURNAL_SEQUENCE),
        scope=Scope.READ,
    ),
    Operation(
        "put",
        "/orders/by-client-id/{client_order_id}",
        "amendOrderByClientOrderId",
        "Amend an order, by the name that its account gave it",
        "As `PUT /orders/{order_id}`.",
        {200: ("The order after the change, with the trades that it led to", "Order", _COMMAND_HEADERS)},
        (*_AMEND_CODES, *_BY_NAME_CODES),
        ("client_order_id in path", "account"),
        "AmendOrder",
        scope=Scope.TRADE,
        is_deferrable=True,
    ),
    Operation(
        "delete",
        "/orders/by-client-id/{client_order_id}",
        "cancelOrderByClientOrderId",
        "Cancel an order, by the name that its account gave it",
        "",
        {200: ("The canceled order", "Order", _COMMAND_HEADERS)},
        (*_CANCEL_CODES, *_BY_NAME_CODES),
        ("client_order_id in path", "account"),
        scope=Scope.TRADE,
        is_deferrable=True,
    ),
)

_ACCOUNTS = (
    Operation(
        "get",
        "/accounts/{account}",
        "getAccount",
        "Limits, switches and positions of an account",
        "",
        {200: ("The account", "Account", ())},
        _HISTORY_CODES,
        ("account in path", JOURNAL_SEQUENCE),
        tag="accounts",
        scope=Scope.READ,
    ),
    Operation(
        "get",
        "/accounts/{account}/orders",
        "listAccountOrders",
        "List an account's orders, newest first",
        "The same as `GET /orders?account=`.",
        {200: ("A page of orders", "Orders", ())},
        ("invalid_cursor", "invalid_value", *_HISTORY_CODES),
        ("account in path", "symbol", "status", "side", "client_order_id", *_LIST_PARAMETERS),
        tag="accounts",
        scope=Scope.READ,
    ),
    Operation(
        "put",
        "/accounts/{account}/cancel-all-after",
        "cancelAllAfter",
        "Dead-man's switch: cancel all orders unless this comes again in time",
        "0 seconds disarm it.",
        {200: ("When it will go off", "CancelAllAfterAnswer", _COMMAND_HEADERS)},
        (*_BODY_CODES, "invalid_account", "invalid_delay", *_COMMAND_CODES),
        ("account in path",),
        "CancelAllAfter",
        tag="accounts",
        scope=Scope.TRADE,
    ),
    Operation(
        "get",
        "/accounts/{account}/limits",
        "getAccountLimits",
        "The limits of an account",
        "",
        {200: ("The limits", "AccountLimitsAnswer", ())},
        _HISTORY_CODES,
        ("account in path", JOURNAL_SEQUENCE),
        tag="accounts",
        scope=Scope.READ,
    ),
    Operation(
        "put",
        "/accounts/{account}/limits",
        "setAccountLimits",
        "Set the limits of an account",
        "Replaces all of them: what is left out has no limit. They hold for what comes after.",
        {200: ("The limits", "AccountLimitsAnswer", _COMMAND_HEADERS)},
        (
            *_BODY_CODES,
            "off_lot",
            "off_notional",
            "invalid_account",
            "invalid_symbol",
            "unknown_symbol",
            "invalid_limits",
            *_COMMAND_CODES,
        ),
        ("account in path",),
        "AccountLimits",
        tag="accounts",
        scope=Scope.ADMIN,
    ),
    Operation(
        "put",
        "/accounts/{account}/kill-switch",
        "setKillSwitch",
        "Stop an account, or release it",
        "Engaged: all its orders are canceled and none is taken until it is released.",
        {200: ("The switch", "KillSwitchAnswer", _COMMAND_HEADERS)},
        (*_BODY_CODES, "invalid_account", *_COMMAND_CODES),
        ("account in path",),
        "KillSwitch",
        tag="accounts",
        scope=Scope.ADMIN,
    ),
)

_MARKET = (
    Operation(
        "get",
        "/trades",
        "listTrades",
        "List trades, newest first",
        "`order_id` finds the trades of that order, as maker or taker.",
        {200: ("A page of trades", "Trades", ())},
        ("invalid_cursor", *_HISTORY_CODES),
        ("symbol", "order_id in query", *_LIST_PARAMETERS),
        tag="market",
    ),
    Operation(
        "get",
        "/market/{symbol}",
        "getMarket",
        "Best bid and ask, last trade, 24 h volume",
        "",
        {200: ("The market", "Market", ())},
        ("unknown_symbol in path", *_MARKET_CODES),
        ("symbol in path", JOURNAL_SEQUENCE),
        tag="market",
    ),
    Operation(
        "get",
        "/market/{symbol}/depth",
        "getDepth",
        "Price levels of the book, best first",
        "Of an iceberg order only what it shows.",
        {200: ("The depth", "Depth", ())},
        ("unknown_symbol in path", *_MARKET_CODES),
        ("symbol in path", "levels", JOURNAL_SEQUENCE),
        tag="market",
    ),
    Operation(
        "get",
        "/market/{symbol}/candles",
        "listCandles",
        "Candles, oldest first",
        "The first ones from `from` on, or without it the latest ones before `to`. An interval without trades has no "
        "candle.",
        {200: ("The candles", "Candles", ())},
        ("unknown_symbol in path", *_HISTORY_CODES),
        ("symbol in path", "interval", "from", "to", "limit", JOURNAL_SEQUENCE),
        tag="market",
    ),
)

_EXPORTS = tuple(
    Operation(
        "get",
        f"/export/{name}",
        f"export{name.title()}",
        f"All {name} that pass the filters, oldest first, as a file",
        "Streamed, however many there are: one moment of the exchange, the journal sequence in the header. An answer "
        "that ends before its end was broken off.",
        {200: (f"The {name}, one a line", "File", _COMMAND_HEADERS)},
        ("invalid_value", "overloaded", *_HISTORY_CODES),
        ("format", "symbol", "account", "from", "to", JOURNAL_SEQUENCE),
        tag="exports",
        scope=Scope.READ,
    )
    for name in ("orders", "trades")
)

_INSTRUMENTS = (
    Operation(
        "get",
        "/instruments",
        "listInstruments",
        "List the instruments",
        "",
        {200: ("Every instrument", "Instruments", ())},
        ("matcher_unavailable", "unknown_sequence", "invalid_parameter"),
        (JOURNAL_SEQUENCE,),
        tag="instruments",
    ),
    Operation(
        "get",
        "/instruments/{symbol}",
        "getInstrument",
        "One instrument",
        "",
        {200: ("The instrument", "Instrument", ())},
        ("unknown_symbol in path", "matcher_unavailable", "unknown_sequence", "invalid_parameter"),
        ("symbol in path", JOURNAL_SEQUENCE),
        tag="instruments",
    ),
    Operation(
        "put",
        "/instruments/{symbol}",
        "defineInstrument",
        "List an instrument, or change its limits and price band",
        "tick_size and lot_size of a listed instrument never change. Limits that are left out are one lot and the "
        "largest quantity of the exchange; a band that is left out is no band.",
        {
            201: ("The instrument, new", "Instrument", ("Location", *_COMMAND_HEADERS)),
            200: ("The instrument, changed", "Instrument", _COMMAND_HEADERS),
        },
        (
            *_BODY_CODES,
            "off_tick",
            "off_lot",
            "invalid_symbol",
            "invalid_instrument",
            "instrument_delisted",
            "instrument_rules_fixed",
            "quantity_out_of_range",
            "price_out_of_range",
            *_COMMAND_CODES,
        ),
        ("symbol in path",),
        "DefineInstrument",
        tag="instruments",
        scope=Scope.ADMIN,
    ),
    Operation(
        "put",
        "/instruments/{symbol}/status",
        "setInstrumentStatus",
        "Halt an instrument, open it, delist it",
        "`halted`: frozen, orders stay; `cancel_only` and `post_only` say it; `delisted` is for good and cancels its "
        "orders.",
        {200: ("The instrument", "Instrument", _COMMAND_HEADERS)},
        (*_BODY_CODES, "unknown_symbol in path", "invalid_symbol", "instrument_delisted", *_COMMAND_CODES),
        ("symbol in path",),
        "SetInstrumentStatus",
        tag="instruments",
        scope=Scope.ADMIN,
    ),
)

_COMMANDS = (
    Operation(
        "get",
        "/commands/{command_id}",
        "getCommand",
        "What became of a deferred command",
        "`pending`, `completed` with what an immediate request would have been answered, or `failed` with the problem.",
        {200: ("The command", "Command", ())},
        ("unknown_command", "commands_unavailable"),
        ("command_id",),
        tag="commands",
        scope=Scope.READ,
    ),
    Operation(
        "get",
        "/commands",
        "listFailedCommands",
        "The deferred commands that failed, newest first",
        "",
        {200: ("The commands", "Commands", ())},
        ("invalid_parameter", "commands_unavailable"),
        ("status of commands", "limit of commands"),
        tag="commands",
        scope=Scope.READ,
    ),
)

_SERVER = (
    Operation(
        "get",
        "/limits",
        "getLimits",
        "Every limit of the interface and of the exchange",
        "",
        {200: ("The limits", "Limits", ())},
        tag="server",
    ),
    Operation(
        "get",
        "/config.json",
        "getConfig",
        "What a page or client has to know before anything else",
        "Where the WebSocket is, as reached from where this was asked.",
        {200: ("The configuration", "PublicConfig", ())},
        tag="server",
    ),
    Operation(
        "get",
        "/health/live",
        "live",
        "Is the gateway running?",
        "",
        {200: ("It is", "Live", ())},
        tag="health",
    ),
    Operation(
        "get",
        "/health/ready",
        "ready",
        "Is the whole exchange ready?",
        "Asks NATS, the matcher, the recorder (and how many commits it is behind) and the broadcaster.",
        {200: ("All of it", "Readiness", ()), 503: ("Some check is not ok", "Readiness", ())},
        tag="health",
    ),
)

OPERATIONS = (*_ORDERS, *_ACCOUNTS, *_MARKET, *_EXPORTS, *_INSTRUMENTS, *_COMMANDS, *_SERVER)
TAGS = ("orders", "accounts", "market", "exports", "instruments", "commands", "server", "health")
