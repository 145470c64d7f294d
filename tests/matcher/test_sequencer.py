"""Group commit: what is in which commit, who is answered when, and who is turned away."""

import msgspec
import pytest
from msgspec.structs import replace

import matcher.engine
import matcher.sequencer
from contracts.commits import Chain
from contracts.messages import (
    MAX_COMMANDS,
    MAX_FILLS,
    MAX_PRICE,
    MAX_QUANTITY,
    AdvanceClock,
    Answer,
    AnswerPart,
    CancelAllAfter,
    CancelAllElapsed,
    CancelOrder,
    CancelOrders,
    CancelReason,
    Command,
    Commit,
    Continue,
    DefineInstrument,
    OrderAccepted,
    OrderCanceled,
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
    Side,
    Terms,
    TimeInForce,
    TradeExecuted,
)
from matcher.engine import Engine
from matcher.replay import Replay
from matcher.sequencer import CANCEL_ROOM, COMMIT_BYTES, Sealed, Sequencer

EPOCH = "journal-of-this-test"
BACKLOG = 600
START = 1_700_000_000_000_000
MAX_PAYLOAD = 1024 * 1024

_reply = msgspec.msgpack.Decoder(Reply)


def order(side: Side = Side.BUY, price: int = 100, quantity: int = 1, client: str | None = None) -> PlaceOrder:
    return PlaceOrder("BTC-USD", side, OrderType.LIMIT, quantity, price, client_order_id=client)


def bad_order() -> PlaceOrder:
    return order(quantity=0)


class Shell:
    """Does what matcher/service.py does with a sequencer, step by step, and keeps what came out."""

    def __init__(self, backlog_commands: int = BACKLOG) -> None:
        self.now = START
        self.journal = Replay()
        self.commits: list[Commit] = []
        self.replies: dict[str, Answer | RequestRefused] = {}
        self.sequencer = Sequencer(Engine(), Chain(journal_epoch=EPOCH), backlog_commands)
        self.request("", DefineInstrument("BTC-USD", "0.01", "0.001"))
        self.seal()

    def request(self, reply_to: str, *commands: Command) -> None:
        self.now += 1
        turned_away = self.sequencer.submit(reply_to, msgspec.msgpack.encode(commands), self.now)
        if turned_away is not None:
            self.replies[reply_to] = _reply.decode(turned_away)

    def seal(self) -> Sealed | None:
        """The sealed commit is durable at once: into the journal, which replays it, and out with the answers."""
        self.now += 1
        sealed = self.sequencer.seal(self.now)
        if sealed is None:
            return None
        if sealed.payload is not None:
            self.commits.append(self.journal.follow(sealed.sequence, sealed.payload))
        for reply_to, answer in sealed.answers:
            assert reply_to not in self.replies or not reply_to, "answered twice"
            self.replies[reply_to] = _reply.decode(answer)
            assert answer == msgspec.msgpack.encode(self.replies[reply_to]), "put together from parts, it is the same"
        return sealed

    def seal_all(self) -> None:
        while self.seal() is not None:
            pass

    def answer(self, reply_to: str) -> tuple[AnswerPart, ...]:
        reply = self.replies[reply_to]
        assert isinstance(reply, Answer)
        return reply.parts

    def refusal(self, reply_to: str) -> RequestRefusal:
        reply = self.replies[reply_to]
        assert isinstance(reply, RequestRefused)
        return reply.reason


@pytest.fixture
def shell() -> Shell:
    return Shell()


def fill_open_commit(shell: Shell, reply_to: str = "filler") -> None:
    """Nothing more is executed before the next seal."""
    shell.request(reply_to, *[order() for _ in range(MAX_COMMANDS)])


def fill_backlog(shell: Shell, commands: int) -> None:
    for start in range(0, commands, MAX_COMMANDS):
        shell.request("", *[order()] * min(MAX_COMMANDS, commands - start))


# What is in which commit


def test_nothing_to_do_is_no_commit(shell: Shell) -> None:
    assert shell.seal() is None


def test_what_arrived_before_the_seal_is_one_commit_in_order(shell: Shell) -> None:
    first, second, third = order(price=1), order(price=2), order(price=3)
    shell.request("a", first)
    shell.request("b", second, third)
    shell.seal()
    assert shell.commits[-1].commands == (first, second, third)
    assert shell.commits[-1].sequence == 2
    assert set(shell.replies) >= {"a", "b"}


def test_what_arrives_while_a_commit_is_written_is_in_the_next(shell: Shell) -> None:
    shell.request("a", order(price=1))
    in_flight = shell.sequencer.seal(START)
    shell.request("b", order(price=2))
    shell.request("c", order(price=3))
    assert in_flight is not None
    assert in_flight.payload is not None
    assert [reply_to for reply_to, _ in in_flight.answers] == ["a"]
    shell.journal.follow(in_flight.sequence, in_flight.payload)
    shell.seal()
    assert [command.price for command in shell.commits[-1].commands] == [2, 3]  # type: ignore[union-attr]


def test_nobody_is_answered_before_the_commit_is_sealed(shell: Shell) -> None:
    shell.request("a", order())
    assert "a" not in shell.replies
    shell.seal()
    assert shell.answer("a")[0].sequence == shell.commits[-1].sequence


def test_refusals_alone_are_released_without_a_commit(shell: Shell) -> None:
    shell.request("a", CancelOrder(77), bad_order())
    sealed = shell.seal()
    assert sealed is not None
    assert sealed.payload is None
    (part,) = shell.answer("a")
    assert part.sequence == 1, "they were judged by the state after the last commit"
    assert [result.reason for result in part.results if isinstance(result, Refusal)] == [
        RejectReason.UNKNOWN_ORDER,
        RejectReason.QUANTITY_OUT_OF_RANGE,
    ]
    shell.request("b", order())
    shell.seal()
    assert shell.commits[-1].sequence == 2, "a refusal takes no sequence"


def test_refused_commands_are_not_in_the_commit_but_in_the_answer_at_their_place(shell: Shell) -> None:
    good = order()
    shell.request("a", bad_order(), good, bad_order())
    shell.seal()
    assert shell.commits[-1].commands == (good,)
    assert [type(result) for result in shell.answer("a")[0].results] == [Refusal, Outcome, Refusal]


@pytest.mark.parametrize(
    ("price", "result"),
    [
        (100, Repeated(1, 2)),
        (101, Refusal(RejectReason.DUPLICATE_CLIENT_ORDER_ID, "client_order_id", 1)),
    ],
)
def test_what_depends_on_the_open_commit_waits_for_it(shell: Shell, price: int, result: Result) -> None:
    """The second is told the first order's id, or its commit: that order must be durable by then."""
    shell.request("a", order(client="c-1"))
    shell.request("b", order(client="c-1", price=price))
    assert "b" not in shell.replies
    sealed = shell.seal()
    assert sealed is not None
    assert sealed.payload is not None
    (part,) = shell.answer("b")
    assert part.results == (result,)
    assert part.sequence == shell.commits[-1].sequence == 2


def test_a_repetition_names_the_commit_of_the_first_answer_much_later(shell: Shell) -> None:
    shell.request("a", order(client="c-1"))
    shell.seal()
    for number in range(5):
        shell.request(f"other {number}", order())
        shell.seal()
    shell.request("b", order(client="c-1"))
    sealed = shell.seal()
    assert sealed is not None
    assert sealed.payload is None
    (part,) = shell.answer("b")
    assert part.results == (Repeated(1, shell.answer("a")[0].sequence),)


# What the matcher does by itself


def expiring(seconds: int, shell: Shell) -> PlaceOrder:
    terms = Terms(expires_at=shell.now + seconds * 1_000_000)
    return replace(order(), time_in_force=TimeInForce.GTD, terms=terms)


def test_what_is_due_expires_before_anything_else_of_its_commit(shell: Shell) -> None:
    shell.request("maker", expiring(10, shell))
    shell.seal()
    shell.now += 10_000_000
    shell.request("taker", order(Side.SELL))
    shell.seal()
    assert shell.commits[-1].commands == (AdvanceClock(), order(Side.SELL))
    (expired,) = shell.commits[-1].outcomes[0].events
    assert isinstance(expired, OrderCanceled)
    assert expired.reason is CancelReason.EXPIRED
    (part,) = shell.answer("taker")
    assert len(part.results) == 1, "the answer holds the request's results alone"


def test_what_is_not_due_needs_no_clock(shell: Shell) -> None:
    due = shell.now + 10_000_000
    shell.request("maker", expiring(10, shell))
    shell.seal()
    assert shell.sequencer.next_due == due
    shell.now += 9_000_000
    shell.request("taker", order(Side.SELL))
    shell.seal()
    assert shell.commits[-1].commands == (order(Side.SELL),)


def test_the_shell_can_let_things_expire_when_nobody_asks_for_anything(shell: Shell) -> None:
    shell.request("maker", expiring(10, shell))
    shell.request("other", CancelAllAfter("default", 20_000_000))
    shell.seal()
    shell.now += 30_000_000
    shell.sequencer.advance(shell.now)
    sealed = shell.seal()
    assert sealed is not None
    assert sealed.answers == []
    assert shell.commits[-1].commands == (AdvanceClock(),)
    assert CancelAllElapsed("default") in shell.commits[-1].outcomes[0].events
    assert shell.sequencer.next_due is None


def test_what_one_outcome_had_no_room_for_follows_before_the_next_command(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    shell.request("orders", *[order(price=price) for price in range(1, 8)])
    shell.seal()
    monkeypatch.setattr(matcher.engine, "MAX_EVENTS", 3)
    shell.request("both", CancelOrders(), order())
    shell.seal()
    commands = shell.commits[-1].commands
    assert commands == (CancelOrders(), Continue(), Continue(), order())
    canceled = [len(outcome.events) for outcome in shell.commits[-1].outcomes]
    assert canceled == [3, 3, 2, 1]
    (part,) = shell.answer("both")
    assert part.results == (shell.commits[-1].outcomes[0], shell.commits[-1].outcomes[3])


def test_what_is_unfinished_goes_on_in_the_next_commit_when_this_one_is_full(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    shell.request("orders", *[order(price=price) for price in range(1, 8)])
    shell.seal()
    monkeypatch.setattr(matcher.engine, "MAX_EVENTS", 3)
    monkeypatch.setattr(matcher.sequencer, "MAX_COMMANDS", 2)
    shell.request("all", CancelOrders())
    shell.request("late", order())
    shell.seal()
    assert shell.commits[-1].commands == (CancelOrders(), Continue())
    shell.seal()
    assert shell.commits[-1].commands == (Continue(), order())
    assert shell.sequencer.engine.resting_orders == 1


def test_a_matcher_that_takes_over_finishes_what_the_last_one_left(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    shell.request("orders", *[order(price=price) for price in range(1, 8)])
    shell.seal()
    monkeypatch.setattr(matcher.engine, "MAX_EVENTS", 3)
    monkeypatch.setattr(matcher.sequencer, "MAX_COMMANDS", 1)
    shell.request("all", CancelOrders())
    shell.seal()
    heir = Sequencer(shell.journal.engine, shell.journal.chain, BACKLOG)
    assert heir.engine.unfinished
    while heir.engine.unfinished:
        heir.advance(shell.now)
        assert heir.seal(shell.now) is not None
    assert heir.engine.resting_orders == 0


@pytest.mark.parametrize("own", [AdvanceClock(), Continue()])
def test_nobody_else_may_send_the_commands_of_the_matcher(shell: Shell, own: Command) -> None:
    shell.request("a", own)
    refused = shell.replies["a"]
    assert isinstance(refused, RequestRefused)
    assert refused.reason is RequestRefusal.MALFORMED


def test_answers_equal_the_outcomes_in_the_commit(shell: Shell) -> None:
    shell.request("seller", order(Side.SELL, quantity=10))
    shell.request("buyer", order(Side.BUY, quantity=4), order(Side.BUY, quantity=5), CancelOrder(1))
    shell.seal()
    commit = shell.commits[-1]
    (seller,), (buyer,) = shell.answer("seller"), shell.answer("buyer")
    assert seller.results + buyer.results == commit.outcomes
    assert (seller.sequence, seller.time) == (buyer.sequence, buyer.time) == (commit.sequence, commit.time)
    kinds = [type(event) for outcome in commit.outcomes for event in outcome.events]
    assert kinds == [OrderAccepted, OrderAccepted, TradeExecuted, OrderAccepted, TradeExecuted, OrderCanceled]


# Sizes


def test_a_commit_is_full_at_its_number_of_commands_and_the_rest_waits(shell: Shell) -> None:
    fill_open_commit(shell)
    shell.request("next", order(price=7))
    assert shell.sequencer.backlog == 1
    shell.seal()
    assert len(shell.commits[-1].commands) == MAX_COMMANDS
    assert "next" not in shell.replies
    shell.seal()
    assert shell.commits[-1].commands == (order(price=7),)
    assert shell.sequencer.backlog == 0


def test_a_request_that_outgrows_a_commit_is_answered_in_parts(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matcher.sequencer, "COMMIT_BYTES", 2_000)
    commands = [order(price=price + 1) for price in range(60)]
    shell.request("large", *commands)
    shell.seal()
    assert "large" not in shell.replies, "its last command is not durable yet"
    shell.request("later", order(price=999))
    shell.seal_all()
    parts = shell.answer("large")
    assert len(parts) > 2
    assert [part.sequence for part in parts] == list(range(2, 2 + len(parts)))
    assert [command for commit in shell.commits[1:] for command in commit.commands] == [*commands, order(price=999)]
    outcomes = [result for part in parts for result in part.results]
    assert outcomes == [outcome for commit in shell.commits[1:] for outcome in commit.outcomes][:-1]


def test_the_largest_commit_fits_the_brokers_limit() -> None:
    """Just short of full, then one order that meets as many makers as it may, each at a price of its own."""
    shell = Shell(backlog_commands=10_000)
    symbol, quantity, price = "S" * 24, MAX_QUANTITY // MAX_FILLS, MAX_PRICE - 10_000
    shell.request("", DefineInstrument(symbol, "0.01", "0.001"))
    shell.seal()
    for engine in (shell.sequencer.engine, shell.journal.engine):
        engine._last_order_id = engine._last_trade_id = 2**62  # ids at their longest
    first_sweep = 2_100
    for number in range(first_sweep + MAX_FILLS):
        shell.request("", PlaceOrder(symbol, Side.SELL, OrderType.LIMIT, quantity, price + number))
    shell.seal_all()
    shell.request("first", PlaceOrder(symbol, Side.BUY, OrderType.MARKET, quantity * first_sweep))
    shell.request("second", PlaceOrder(symbol, Side.BUY, OrderType.MARKET, quantity * MAX_FILLS))
    sealed = shell.seal()
    assert sealed is not None
    assert sealed.payload is not None
    first, second = shell.commits[-1].outcomes
    assert COMMIT_BYTES * 0.9 < len(msgspec.msgpack.encode(first)) < COMMIT_BYTES
    assert len(second.events) == MAX_FILLS + 1
    assert len(sealed.payload) < MAX_PAYLOAD
    assert all(len(answer) < MAX_PAYLOAD for _, answer in sealed.answers)


# Turned away


@pytest.mark.parametrize(
    "payload",
    [b"", b"junk", b"\x90", b"{}", msgspec.msgpack.encode([{"kind": "place"}]), msgspec.msgpack.encode([["nonsense"]])],
)
def test_what_cannot_be_read_is_turned_away(shell: Shell, payload: bytes) -> None:
    turned_away = shell.sequencer.submit("a", payload, START)
    assert turned_away is not None
    assert _reply.decode(turned_away).reason is RequestRefusal.MALFORMED
    assert shell.seal() is None


def test_a_request_with_one_unreadable_command_does_nothing(shell: Shell) -> None:
    fine = ["place", "BTC-USD", "buy", "limit", 1, 100]
    turned_away = shell.sequencer.submit("a", msgspec.msgpack.encode([fine, ["place", "BTC-USD", "up"]]), START)
    assert turned_away is not None
    assert shell.seal() is None
    assert shell.sequencer.engine.resting_orders == 0


def test_too_many_commands_in_one_request(shell: Shell) -> None:
    shell.request("a", *[order()] * (MAX_COMMANDS + 1))
    assert shell.refusal("a") is RequestRefusal.TOO_MANY_COMMANDS
    assert shell.seal() is None


def test_overload_refuses_at_the_bound_and_nothing_of_the_request_is_done(shell: Shell) -> None:
    fill_open_commit(shell)
    fill_backlog(shell, BACKLOG)
    shell.request("one too many", order(client="one"))
    assert shell.refusal("one too many") is RequestRefusal.OVERLOADED
    assert shell.sequencer.backlog == BACKLOG
    shell.seal_all()
    assert sum(len(commit.commands) for commit in shell.commits[1:]) == MAX_COMMANDS + BACKLOG
    shell.request("again", order(client="one"))
    shell.seal()
    assert isinstance(shell.answer("again")[0].results[0], Outcome), "it was never looked at before"


def test_a_request_larger_than_the_bound_is_refused_even_when_nothing_waits() -> None:
    shell = Shell(backlog_commands=2)
    shell.request("three", order(), order(), order())
    assert shell.refusal("three") is RequestRefusal.OVERLOADED
    shell.request("two", order(), order())
    shell.seal()
    assert len(shell.answer("two")[0].results) == 2


def test_a_request_that_exceeds_the_bound_only_in_part_is_refused_whole(shell: Shell) -> None:
    fill_open_commit(shell)
    fill_backlog(shell, BACKLOG - 1)
    shell.request("two", order(), order())
    assert shell.refusal("two") is RequestRefusal.OVERLOADED
    shell.request("one", order())
    assert "one" not in shell.replies, "there is room for one"


def test_cancels_have_room_beyond_the_bound(shell: Shell) -> None:
    fill_open_commit(shell)
    fill_backlog(shell, BACKLOG)
    shell.request("cancel", CancelOrder(1))
    shell.request("mixed", CancelOrder(2), order())
    assert shell.refusal("mixed") is RequestRefusal.OVERLOADED, "the room is for cancels alone"
    room = int(BACKLOG * CANCEL_ROOM) - shell.sequencer.backlog
    shell.request("cancels", *[CancelOrder(number + 3) for number in range(room)])
    shell.request("too late", CancelOrder(3))
    assert shell.refusal("too late") is RequestRefusal.OVERLOADED
    shell.seal_all()
    assert isinstance(shell.answer("cancel")[0].results[0], Outcome)
    assert len(shell.answer("cancels")[0].results) == room


def test_what_waits_is_bounded_in_bytes_as_well(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """Few commands may be many bytes: nobody has looked at the names in them yet."""
    monkeypatch.setattr(matcher.sequencer, "BACKLOG_BYTES", 10_000)
    fill_open_commit(shell)
    for number in range(3):
        shell.request(f"{number}", order(client="x" * 4_500))
    assert shell.refusal("2") is RequestRefusal.OVERLOADED
    assert shell.sequencer.backlog == 2
    shell.seal_all()
    shell.request("3", order(client="y" * 50_000))
    assert "3" not in shell.replies, "a large one alone is judged like any other"
    shell.seal_all()
    assert isinstance(shell.answer("3")[0].results[0], Refusal)


def test_the_backlog_is_worked_off_in_the_order_of_arrival(shell: Shell) -> None:
    fill_open_commit(shell)
    for number in range(50):
        shell.request(f"{number}", order(price=number + 1))
    shell.seal_all()
    assert [command.price for command in shell.commits[-1].commands] == list(range(1, 51))  # type: ignore[union-attr]


# Time


def test_time_never_goes_back(shell: Shell) -> None:
    shell.request("a", order())
    shell.seal()
    shell.now = START - 3_600_000_000  # the clock was set back an hour
    shell.request("b", order())
    shell.seal()
    shell.now = START + 3_600_000_000
    shell.request("c", order())
    shell.seal()
    a, b, c = shell.commits[-3:]
    assert a.time == b.time
    assert c.time == shell.now - 1


def test_a_commit_has_the_time_at_which_its_first_command_was_executed(shell: Shell) -> None:
    shell.request("a", order())
    executed = shell.now
    shell.request("b", order())
    shell.seal()
    assert shell.commits[-1].time == executed
    assert shell.answer("b")[0].time == executed


# Questions


def test_a_finding_is_of_durable_state(shell: Shell) -> None:
    """The answer must not tell of the commands behind the commit that it comes with."""
    fill_open_commit(shell)
    shell.request("waits", order())
    shell.sequencer.inspect("how many?", lambda engine: engine.resting_orders)
    sealed = shell.seal()
    assert sealed is not None
    assert sealed.findings == [("how many?", MAX_COMMANDS)]
    assert sealed.sequence == shell.commits[-1].sequence
    assert shell.sequencer.engine.resting_orders == MAX_COMMANDS + 1, "the next commit is under way already"


def test_a_question_alone_is_answered_without_a_commit(shell: Shell) -> None:
    shell.sequencer.inspect("hash", Engine.state_hash)
    sealed = shell.seal()
    assert sealed is not None
    assert sealed.payload is None
    assert sealed.sequence == 1
    assert sealed.findings == [("hash", shell.journal.engine.state_hash())]
    assert shell.seal() is None, "asked once, answered once"
