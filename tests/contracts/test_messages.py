"""Golden bytes: what is on the wire and in every journal. A test that fails here says that old journals, or services of
another version, would be read wrongly: new fields come last and have defaults; nothing is renamed or moved."""

from enum import Enum
from typing import Any

import msgspec
import pytest

from contracts import messages
from contracts.messages import (
    MAX_QUANTITY,
    AmendOrder,
    Answer,
    AnswerPart,
    CancelOrder,
    CancelReason,
    Command,
    Commit,
    DefineInstrument,
    Event,
    InstrumentDefined,
    LevelChanged,
    OrderAccepted,
    OrderAmended,
    OrderCanceled,
    OrderState,
    OrderStatus,
    OrderType,
    Outcome,
    PlaceOrder,
    Refusal,
    RejectReason,
    Reply,
    RequestRefusal,
    RequestRefused,
    Result,
    Side,
    TimeInForce,
    TradeExecuted,
)

TIME = 1_430_438_404_518_000
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
)
ORDER_BYTES = (
    "9d07a46d792d31a4616e6e61a74254432d555344a3627579a56c696d6974a3475443c3cd27420c04a53430323030cf000514f9e4f97070"
)

GOLDEN: list[tuple[Any, msgspec.Struct, str]] = [
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
    (OrderState, ORDER, ORDER_BYTES),
    (Event, OrderAccepted(3), "92a8616363657074656403"),
    (
        Event,
        TradeExecuted(9, "BTC-USD", 10_050, 4, Side.SELL, 1, 2),
        "98a5747261646509a74254432d555344cd274204a473656c6c0102",
    ),
    (
        Event,
        OrderCanceled(ORDER, CancelReason.REQUESTED),
        f"93a863616e63656c6564{ORDER_BYTES}a9726571756573746564",
    ),
    (Event, OrderAmended(ORDER, priority_kept=True), f"93a7616d656e646564{ORDER_BYTES}c3"),
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

FIELDS = {
    PlaceOrder: "symbol side type quantity price time_in_force post_only account client_order_id",
    CancelOrder: "order_id",
    AmendOrder: "order_id price quantity",
    DefineInstrument: "symbol tick_size lot_size min_quantity max_quantity",
    OrderState: (
        "order_id client_order_id account symbol side type time_in_force post_only price quantity filled_quantity "
        "filled_notional created_at"
    ),
    OrderAccepted: "order_id",
    TradeExecuted: "trade_id symbol price quantity taker_side maker_order_id taker_order_id",
    OrderCanceled: "order reason",
    OrderAmended: "order priority_kept",
    InstrumentDefined: "symbol",
    LevelChanged: "symbol side price quantity",
    Outcome: "events levels",
    Refusal: "reason field order_id",
    Commit: "version journal_epoch matcher_epoch sequence previous_hash time commands outcomes state_hash",
    Answer: "parts",
    AnswerPart: "sequence time results",
    RequestRefused: "reason detail",
}

VALUES: dict[type[Enum], str] = {
    Side: "buy sell",
    OrderType: "limit market",
    TimeInForce: "GTC IOC FOK",
    OrderStatus: "open partially_filled filled canceled rejected expired",
    CancelReason: "requested amended_below_filled immediate_or_cancel fill_or_kill no_liquidity fill_limit",
    RejectReason: (
        "unknown_symbol invalid_symbol invalid_account invalid_client_order_id price_required price_not_allowed "
        "price_out_of_range quantity_out_of_range post_only_not_allowed post_only_would_trade "
        "duplicate_client_order_id too_many_orders unknown_order nothing_to_amend instrument_rules_fixed "
        "invalid_instrument"
    ),
    RequestRefusal: "malformed_request too_many_commands overloaded",
}

golden = pytest.mark.parametrize(("kind", "message", "wire"), GOLDEN, ids=lambda value: type(value).__name__)


@golden
def test_golden_bytes(kind: Any, message: msgspec.Struct, wire: str) -> None:
    assert msgspec.msgpack.encode(message).hex() == wire
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
