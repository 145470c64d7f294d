"""Golden bytes: what is on the wire and in every journal. A test that fails here says that old journals, or services of
another version, would be read wrongly: new fields come last and have defaults; nothing is renamed or moved."""

from enum import Enum
from typing import Any

import msgspec
import pytest

from contracts import messages
from contracts.messages import (
    MAX_QUANTITY,
    AccountLimitsSet,
    AdvanceClock,
    AllOrNothing,
    AmendOrder,
    Answer,
    AnswerPart,
    CancelAllAfter,
    CancelAllElapsed,
    CancelAllScheduled,
    CancelOrder,
    CancelOrders,
    CancelReason,
    Command,
    Commit,
    Continue,
    DefineInstrument,
    Event,
    InstrumentDefined,
    InstrumentStatus,
    InstrumentStatusChanged,
    ItemStarted,
    KillSwitchSet,
    LevelChanged,
    OrderAccepted,
    OrderAmended,
    OrderCanceled,
    OrderReduced,
    OrdersCanceled,
    OrderState,
    OrderStatus,
    OrderTriggered,
    OrderType,
    Outcome,
    PlaceOrder,
    Refusal,
    RejectReason,
    Repeated,
    Reply,
    RequestRefusal,
    RequestRefused,
    Result,
    SelfTradePrevention,
    SetAccountLimits,
    SetInstrumentStatus,
    SetKillSwitch,
    Side,
    SymbolLimits,
    Terms,
    TimeInForce,
    TradeExecuted,
)

TIME = 1_430_438_404_518_000
ORDER_1 = OrderState(
    order_id=7,
    client_order_id="my-1",
    account="anna",
    symbol="BTC-USD",
    side=Side.BUY,
    type=OrderType.LIMIT,
    time_in_force=TimeInForce.GTC,
    post_only=True,
    price=10_050,
    quantity=12,
    filled_quantity=4,
    filled_notional="40200",
    created_at=TIME,
)
ORDER_BYTES_1 = (
    "9d07a46d792d31a4616e6e61a74254432d555344a3627579a56c696d6974a3475443c3cd27420c04a53430323030cf000514f9e4f97070"
)

# What version 1 wrote is still read, with the defaults for what it did not know

VERSION_1: list[tuple[Any, msgspec.Struct, str]] = [
    (
        Command,
        PlaceOrder("BTC-USD", Side.BUY, OrderType.LIMIT, 5),
        "9aa5706c616365a74254432d555344a3627579a56c696d697405c0a3475443c2a764656661756c74c0",
    ),
    (
        Command,
        PlaceOrder("BTC-USD", Side.SELL, OrderType.LIMIT, 1, 100, TimeInForce.IOC, True, "anna", "my-1"),
        "9aa5706c616365a74254432d555344a473656c6ca56c696d69740164a3494f43c3a4616e6e61a46d792d31",
    ),
    (
        Command,
        PlaceOrder("X", Side.BUY, OrderType.MARKET, MAX_QUANTITY, time_in_force=TimeInForce.FOK),
        "9aa5706c616365a158a3627579a66d61726b6574cf000000e8d4a51000c0a3464f4bc2a764656661756c74c0",
    ),
    (Command, CancelOrder(7), "92a663616e63656c07"),
    (Command, AmendOrder(7), "94a5616d656e6407c0c0"),
    (Command, AmendOrder(7, 101, 12), "94a5616d656e6407650c"),
    (
        Command,
        DefineInstrument("BTC-USD", "0.01", "0.001"),
        "96aa696e737472756d656e74a74254432d555344a4302e3031a5302e30303101cf000000e8d4a51000",
    ),
    (Command, DefineInstrument("X", "1", "1", 2, 1000), "96aa696e737472756d656e74a158a131a13102cd03e8"),
    (OrderState, ORDER_1, ORDER_BYTES_1),
    (Event, OrderAccepted(3), "92a8616363657074656403"),
    (
        Event,
        TradeExecuted(9, "BTC-USD", 10_050, 4, Side.SELL, 1, 2),
        "98a5747261646509a74254432d555344cd274204a473656c6c0102",
    ),
    (
        Event,
        OrderCanceled(ORDER_1, CancelReason.REQUESTED),
        f"93a863616e63656c6564{ORDER_BYTES_1}a9726571756573746564",
    ),
    (Event, OrderAmended(ORDER_1, priority_kept=True), f"93a7616d656e646564{ORDER_BYTES_1}c3"),
    (Event, InstrumentDefined("BTC-USD"), "92aa696e737472756d656e74a74254432d555344"),
    (LevelChanged, LevelChanged("BTC-USD", Side.BUY, 10_050, 0), "94a74254432d555344a3627579cd274200"),
    (Result, Outcome((OrderAccepted(3),)), "93a4646f6e659192a861636365707465640390"),
    (
        Result,
        Outcome((OrderAccepted(3),), (LevelChanged("X", Side.SELL, 1, 2),)),
        "93a4646f6e659192a86163636570746564039194a158a473656c6c0102",
    ),
    (Result, Refusal(RejectReason.UNKNOWN_SYMBOL), "94a772656675736564ae756e6b6e6f776e5f73796d626f6cc0c0"),
    (
        Result,
        Refusal(RejectReason.DUPLICATE_CLIENT_ORDER_ID, "client_order_id", 8),
        "94a772656675736564b96475706c69636174655f636c69656e745f6f726465725f6964af636c69656e745f6f726465725f696408",
    ),
    (
        Commit,
        Commit(1, "epoch", 2, 3, bytes(range(4)), TIME),
        "9901a565706f63680203c40400010203cf000514f9e4f970709090c0",
    ),
    (
        Commit,
        Commit(1, "epoch", 2, 3, b"", 0, (CancelOrder(7),), (Outcome(()),), b"\x01"),
        "9901a565706f63680203c400009192a663616e63656c079193a4646f6e659090c40101",
    ),
    (
        AnswerPart,
        AnswerPart(12, TIME, (Outcome((OrderAccepted(3),)), Refusal(RejectReason.UNKNOWN_ORDER))),
        "930ccf000514f9e4f970709293a4646f6e659192a86163636570746564039094a772656675736564"
        "ad756e6b6e6f776e5f6f72646572c0c0",
    ),
    (
        Reply,
        Answer((AnswerPart(12, 5, ()), AnswerPart(13, 6, (Outcome(()),)))),
        "92a6616e7377657292930c0590930d069193a4646f6e659090",
    ),
    (Reply, RequestRefused(RequestRefusal.OVERLOADED), "93ab7475726e65645f61776179aa6f7665726c6f61646564a0"),
    (
        Reply,
        RequestRefused(RequestRefusal.MALFORMED, "why"),
        "93ab7475726e65645f61776179b16d616c666f726d65645f72657175657374a3776879",
    ),
]


ORDER = OrderState(
    order_id=7,
    client_order_id="my-1",
    account="anna",
    symbol="BTC-USD",
    side=Side.BUY,
    type=OrderType.LIMIT,
    time_in_force=TimeInForce.GTC,
    post_only=True,
    price=10_050,
    quantity=12,
    filled_quantity=4,
    filled_notional="40200",
    created_at=TIME,
    terms=Terms(display_quantity=3),
    triggered=True,
)

TERMS = Terms(90, 3, 95, 1000, TIME, SelfTradePrevention.DECREMENT)
STOP = PlaceOrder("X", Side.BUY, OrderType.STOP_LIMIT, 5, 100, TimeInForce.GTD, False, "anna", "my-1", TERMS)

GOLDEN: list[tuple[Any, msgspec.Struct, str]] = [
    (
        Command,
        PlaceOrder("BTC-USD", Side.BUY, OrderType.LIMIT, 5),
        "9ba5706c616365a74254432d555344a3627579a56c696d697405c0a3475443c2a764656661756c74c0c0",
    ),
    (
        Command,
        STOP,
        (
            "9ba5706c616365a158a3627579aa73746f705f6c696d69740564a3475444c2a4616e6e61a46d792d31965a035fcd03e8"
            "cf000514f9e4f97070a964656372656d656e74"
        ),
    ),
    (
        Terms,
        TERMS,
        "965a035fcd03e8cf000514f9e4f97070a964656372656d656e74",
    ),
    (
        Command,
        CancelOrder(7),
        "93a663616e63656c07c0",
    ),
    (
        Command,
        CancelOrder(7, ("anna", "ben")),
        "93a663616e63656c0792a4616e6e61a362656e",
    ),
    (
        Command,
        AmendOrder(7, 101, 12, 99, ("anna",)),
        "96a5616d656e6407650c6391a4616e6e61",
    ),
    (
        Command,
        AllOrNothing((CancelOrder(7), AmendOrder(8, 101), PlaceOrder("X", Side.SELL, OrderType.MARKET, 1))),
        (
            "92ae616c6c5f6f725f6e6f7468696e679393a663616e63656c07c096a5616d656e640865c0c0c09ba5706c616365a158"
            "a473656c6ca66d61726b657401c0a3475443c2a764656661756c74c0c0"
        ),
    ),
    (
        Command,
        CancelOrders(),
        "94aa63616e63656c5f616c6cc0c0c0",
    ),
    (
        Command,
        CancelOrders(("anna",), "X", Side.SELL),
        "94aa63616e63656c5f616c6c91a4616e6e61a158a473656c6c",
    ),
    (
        Command,
        CancelAllAfter("anna", 30_000_000),
        "93b063616e63656c5f616c6c5f6166746572a4616e6e61ce01c9c380",
    ),
    (
        Command,
        DefineInstrument("X", "1", "1", 2, 1000, 3, 4, 500),
        "99aa696e737472756d656e74a158a131a13102cd03e80304cd01f4",
    ),
    (
        Command,
        SetInstrumentStatus("X", InstrumentStatus.HALTED),
        "93b1696e737472756d656e745f737461747573a158a668616c746564",
    ),
    (
        SymbolLimits,
        SymbolLimits("X", 1, 2, 3),
        "94a158010203",
    ),
    (
        Command,
        SetAccountLimits("anna", 10, (SymbolLimits("X", 1, 2, 3),)),
        "94ae6163636f756e745f6c696d697473a4616e6e610a9194a158010203",
    ),
    (
        Command,
        SetKillSwitch("anna", True),
        "93ab6b696c6c5f737769746368a4616e6e61c3",
    ),
    (
        Command,
        AdvanceClock(),
        "91a5636c6f636b",
    ),
    (
        Command,
        Continue(),
        "91a8636f6e74696e7565",
    ),
    (
        OrderState,
        ORDER,
        (
            "9f07a46d792d31a4616e6e61a74254432d555344a3627579a56c696d6974a3475443c3cd27420c04a53430323030cf00"
            "0514f9e4f9707096c003c0c0c0a46e6f6e65c3"
        ),
    ),
    (
        Event,
        OrderAccepted(3),
        "93a8616363657074656403c0",
    ),
    (
        Event,
        OrderAccepted(3, 17),
        "93a861636365707465640311",
    ),
    (
        Event,
        TradeExecuted(9, "BTC-USD", 10_050, 4, Side.SELL, 1, 2),
        "98a5747261646509a74254432d555344cd274204a473656c6c0102",
    ),
    (
        Event,
        OrderCanceled(ORDER, CancelReason.REQUESTED),
        (
            "93a863616e63656c65649f07a46d792d31a4616e6e61a74254432d555344a3627579a56c696d6974a3475443c3cd2742"
            "0c04a53430323030cf000514f9e4f9707096c003c0c0c0a46e6f6e65c3a9726571756573746564"
        ),
    ),
    (
        Event,
        OrderAmended(ORDER, priority_kept=True),
        (
            "93a7616d656e6465649f07a46d792d31a4616e6e61a74254432d555344a3627579a56c696d6974a3475443c3cd27420c"
            "04a53430323030cf000514f9e4f9707096c003c0c0c0a46e6f6e65c3c3"
        ),
    ),
    (
        Event,
        OrderTriggered(7, 9),
        "93a97472696767657265640709",
    ),
    (
        Event,
        OrderReduced(ORDER),
        (
            "92a7726564756365649f07a46d792d31a4616e6e61a74254432d555344a3627579a56c696d6974a3475443c3cd27420c"
            "04a53430323030cf000514f9e4f9707096c003c0c0c0a46e6f6e65c3"
        ),
    ),
    (
        Event,
        OrdersCanceled(12),
        "92af6f72646572735f63616e63656c65640c",
    ),
    (
        Event,
        ItemStarted(2),
        "92a46974656d02",
    ),
    (
        Event,
        CancelAllScheduled("anna", TIME),
        "93b463616e63656c5f616c6c5f7363686564756c6564a4616e6e61cf000514f9e4f97070",
    ),
    (
        Event,
        CancelAllElapsed("anna"),
        "92b263616e63656c5f616c6c5f656c6170736564a4616e6e61",
    ),
    (
        Event,
        InstrumentDefined("BTC-USD"),
        "92aa696e737472756d656e74a74254432d555344",
    ),
    (
        Event,
        InstrumentStatusChanged("X", InstrumentStatus.POST_ONLY),
        "93b1696e737472756d656e745f737461747573a158a9706f73745f6f6e6c79",
    ),
    (
        Event,
        AccountLimitsSet("anna"),
        "92ae6163636f756e745f6c696d697473a4616e6e61",
    ),
    (
        Event,
        KillSwitchSet("anna", False),
        "93ab6b696c6c5f737769746368a4616e6e61c2",
    ),
    (
        LevelChanged,
        LevelChanged("BTC-USD", Side.BUY, 10_050, 0),
        "94a74254432d555344a3627579cd274200",
    ),
    (
        Result,
        Outcome((OrderAccepted(3),), (LevelChanged("X", Side.SELL, 1, 2),)),
        "93a4646f6e659193a8616363657074656403c09194a158a473656c6c0102",
    ),
    (
        Result,
        Refusal(RejectReason.DUPLICATE_CLIENT_ORDER_ID, "client_order_id", 8),
        (
            "98a772656675736564b96475706c69636174655f636c69656e745f6f726465725f6964af636c69656e745f6f72646572"
            "5f696408c0c0c0c0"
        ),
    ),
    (
        Result,
        Refusal(RejectReason.PRICE_OUTSIDE_BAND, "price", None, 2, 90, 110, 5),
        "98a772656675736564b270726963655f6f7574736964655f62616e64a57072696365c0025a6e05",
    ),
    (
        Result,
        Repeated(7, 12),
        "93a87265706561746564070c",
    ),
    (
        Commit,
        Commit(2, "epoch", 2, 3, b"", 0, (CancelOrder(7),), (Outcome(()),), b"\x01"),
        "9902a565706f63680203c400009193a663616e63656c07c09193a4646f6e659090c40101",
    ),
    (
        AnswerPart,
        AnswerPart(12, TIME, (Outcome((OrderAccepted(3),)), Refusal(RejectReason.UNKNOWN_ORDER))),
        (
            "930ccf000514f9e4f970709293a4646f6e659193a8616363657074656403c09098a772656675736564ad756e6b6e6f77"
            "6e5f6f72646572c0c0c0c0c0c0"
        ),
    ),
    (
        Reply,
        Answer((AnswerPart(12, 5, ()), AnswerPart(13, 6, (Outcome(()),)))),
        "92a6616e7377657292930c0590930d069193a4646f6e659090",
    ),
    (
        Reply,
        RequestRefused(RequestRefusal.MALFORMED, "why"),
        "93ab7475726e65645f61776179b16d616c666f726d65645f72657175657374a3776879",
    ),
]

FIELDS = {
    Terms: "stop_price display_quantity protection_price notional expires_at self_trade_prevention",
    PlaceOrder: "symbol side type quantity price time_in_force post_only account client_order_id terms",
    CancelOrder: "order_id accounts",
    AmendOrder: "order_id price quantity stop_price accounts",
    AllOrNothing: "items",
    CancelOrders: "accounts symbol side",
    CancelAllAfter: "account delay",
    DefineInstrument: (
        "symbol tick_size lot_size min_quantity max_quantity lowest_price highest_price band_basis_points"
    ),
    SetInstrumentStatus: "symbol status",
    SymbolLimits: "symbol max_order_quantity max_order_notional max_position",
    SetAccountLimits: "account max_open_orders symbols",
    SetKillSwitch: "account engaged",
    AdvanceClock: "",
    Continue: "",
    OrderState: (
        "order_id client_order_id account symbol side type time_in_force post_only price quantity "
        "filled_quantity filled_notional created_at terms triggered"
    ),
    OrderAccepted: "order_id quantity",
    TradeExecuted: "trade_id symbol price quantity taker_side maker_order_id taker_order_id",
    OrderCanceled: "order reason",
    OrderAmended: "order priority_kept",
    OrderTriggered: "order_id trade_id",
    OrderReduced: "order",
    OrdersCanceled: "count",
    ItemStarted: "item",
    CancelAllScheduled: "account deadline",
    CancelAllElapsed: "account",
    InstrumentStatusChanged: "symbol status",
    AccountLimitsSet: "account",
    KillSwitchSet: "account engaged",
    InstrumentDefined: "symbol",
    LevelChanged: "symbol side price quantity",
    Outcome: "events levels",
    Refusal: "reason field order_id item lowest highest limit",
    Repeated: "order_id sequence",
    Commit: "version journal_epoch matcher_epoch sequence previous_hash time commands outcomes state_hash",
    Answer: "parts",
    AnswerPart: "sequence time results",
    RequestRefused: "reason detail",
}

VALUES: dict[type[Enum], str] = {
    Side: "buy sell",
    OrderType: "limit market stop stop_limit",
    TimeInForce: "GTC IOC FOK GTD DAY",
    SelfTradePrevention: "none cancel_newest cancel_oldest cancel_both decrement",
    InstrumentStatus: "trading halted cancel_only post_only delisted",
    OrderStatus: "open partially_filled filled canceled rejected expired",
    CancelReason: (
        "requested amended_below_filled immediate_or_cancel fill_or_kill no_liquidity fill_limit expired "
        "protection_price price_band self_trade_prevention dead_mans_switch kill_switch delisted"
    ),
    RejectReason: (
        "unknown_symbol invalid_symbol invalid_account invalid_client_order_id price_required "
        "price_not_allowed price_out_of_range quantity_out_of_range post_only_not_allowed "
        "post_only_would_trade duplicate_client_order_id too_many_orders unknown_order nothing_to_amend "
        "instrument_rules_fixed invalid_instrument stop_price_required stop_price_not_allowed "
        "display_quantity_not_allowed display_quantity_out_of_range protection_price_not_allowed "
        "notional_not_allowed notional_out_of_range notional_too_small no_liquidity time_in_force_not_allowed "
        "expiry_required expiry_not_allowed expiry_in_the_past instrument_halted instrument_cancel_only "
        "instrument_post_only instrument_delisted price_outside_band max_order_quantity max_order_notional "
        "max_open_orders max_position kill_switch_engaged invalid_limits invalid_delay invalid_batch "
        "same_order_twice amendment_would_trade"
    ),
    RequestRefusal: "malformed_request too_many_commands overloaded",
}

golden = pytest.mark.parametrize(("kind", "message", "wire"), GOLDEN, ids=lambda value: type(value).__name__)
older = pytest.mark.parametrize(("kind", "message", "wire"), VERSION_1, ids=lambda value: type(value).__name__)


@golden
def test_golden_bytes(kind: Any, message: msgspec.Struct, wire: str) -> None:
    assert msgspec.msgpack.encode(message).hex() == wire
    decoded = msgspec.msgpack.decode(bytes.fromhex(wire), type=kind)
    assert decoded == message
    assert type(decoded) is type(message)


@older
def test_bytes_of_version_1(kind: Any, message: msgspec.Struct, wire: str) -> None:
    decoded = msgspec.msgpack.decode(bytes.fromhex(wire), type=kind)
    assert decoded == message
    assert type(decoded) is type(message)


@golden
def test_a_field_that_a_later_version_adds_is_passed_over(kind: Any, message: msgspec.Struct, wire: str) -> None:
    fields = msgspec.msgpack.decode(bytes.fromhex(wire))
    later = msgspec.msgpack.encode([*fields, "something new"])
    assert msgspec.msgpack.decode(later, type=kind) == message


def test_fields_that_have_defaults_may_be_missing() -> None:
    short = msgspec.msgpack.encode(["place", "X", "buy", "limit", 5])
    assert msgspec.msgpack.decode(short, type=Command) == PlaceOrder("X", Side.BUY, OrderType.LIMIT, 5)


@pytest.mark.parametrize("kind", FIELDS, ids=lambda kind: kind.__name__)
def test_order_of_fields(kind: type[msgspec.Struct]) -> None:
    """Two fields of one type could change places without any golden byte noticing."""
    assert " ".join(kind.__struct_fields__) == FIELDS[kind]


@pytest.mark.parametrize("kind", VALUES, ids=lambda kind: kind.__name__)
def test_values_of_enums(kind: type[Enum]) -> None:
    assert " ".join(member.value for member in kind) == VALUES[kind]


def test_nothing_is_missing_from_these_tables() -> None:
    public = [thing for thing in vars(messages).values() if isinstance(thing, type)]
    here = [thing for thing in public if thing.__module__ == messages.__name__ and thing is not messages.Message]
    assert {thing for thing in here if issubclass(thing, Enum)} == set(VALUES)
    structs = {thing for thing in here if issubclass(thing, msgspec.Struct)}
    assert structs == set(FIELDS) == {type(message) for _, message, _ in GOLDEN}


@pytest.mark.parametrize(
    "wire",
    [
        b"",
        b"\xc0",
        msgspec.msgpack.encode(["nonsense", 1]),
        msgspec.msgpack.encode(["cancel"]),
        msgspec.msgpack.encode(["cancel", 1.0]),
        msgspec.msgpack.encode(["cancel", True]),
        msgspec.msgpack.encode(["cancel", "1"]),
        msgspec.msgpack.encode(["place", "X", "buy", "limit", 5, 100.0]),
        msgspec.msgpack.encode(["place", "X", "BUY", "limit", 5]),
        msgspec.msgpack.encode(["amend", 1, None, None]) + b"\xc0",
    ],
    ids=repr,
)
def test_what_is_no_command_is_not_read_as_one(wire: bytes) -> None:
    with pytest.raises(msgspec.MsgspecError):
        msgspec.msgpack.decode(wire, type=Command)


def test_sides() -> None:
    assert Side.BUY.opposite is Side.SELL
    assert Side.SELL.opposite is Side.BUY


def test_messages_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        CancelOrder(1).order_id = 2  # type: ignore[misc]
