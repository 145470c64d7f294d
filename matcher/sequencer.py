"""Group commit as a state machine: requests in, commits to write out, answers once they are written.

Pure: the shell in matcher/service.py moves the bytes and tells the time. A command is executed as soon as there is
room in the *open* commit; the shell seals the open commit when the one before it is durable, so whatever accumulated
meanwhile goes to disk as one message. Only beyond the size of a commit do requests wait, in a bounded backlog. The
matcher's own commands stand before theirs (docs/decisions/0011).
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from contracts.commits import VERSION, Chain, encode_commit
from contracts.messages import (
    MAX_COMMANDS,
    AdvanceClock,
    Answer,
    CancelOrder,
    CancelOrders,
    ClientCommand,
    Command,
    Commit,
    Continue,
    Outcome,
    RequestRefusal,
    RequestRefused,
)
from contracts.packing import array_of
from matcher.engine import Engine

COMMIT_BYTES = 256 * 1024
"""A commit is full beyond this; one outcome more (MAX_FILLS trades) and it is still below 1 MB."""
CANCEL_ROOM = 1.25
"""Requests of cancels alone may fill the backlog this much further: getting out must work when getting in does not."""

BACKLOG_BYTES = 64 * 1024 * 1024
"""Requests that wait may have this much together, however few commands they are."""

_CANCELS = (CancelOrder, CancelOrders)
_encoder = msgspec.msgpack.Encoder()
_request_decoder = msgspec.msgpack.Decoder(tuple[ClientCommand, ...])
_ANSWER = _encoder.encode(Answer(()))[:-1]
"""How every answer begins, up to the array of its parts."""


class Request(msgspec.Struct, gc=False):
    """A client's commands, the last `waiting` of which are yet to be executed. `parts` are the answers so far."""

    reply_to: str
    commands: tuple[Command, ...]
    size: int
    waiting: int
    parts: list[bytes] = []
    """Each an encoded AnswerPart."""


@dataclass(slots=True)
class Sealed:
    """A commit to write. `payload` is None when there was nothing to write: the answers may go out at once."""

    sequence: int
    payload: bytes | None
    answers: list[tuple[str, bytes]]
    findings: list[tuple[object, object]]
    """What was asked with `inspect`, answered for the state that this commit leads to."""
    commands: int = 0
    """How many the commit holds."""


class Sequencer:
    """Owns the engine and the end of the journal. `chain` is where the last sealed commit left it."""

    def __init__(self, engine: Engine, chain: Chain, backlog_commands: int) -> None:
        self.engine = engine
        self.chain = chain
        self._questions: list[tuple[object, Callable[[Engine], object]]] = []
        self._backlog: deque[Request] = deque()
        self.backlog_room = backlog_commands
        self.backlog = 0
        self._backlog_bytes = 0
        self._open()

    def _open(self) -> None:
        self._time: int | None = None
        self._commands: list[Command] = []
        self._outcomes: list[bytes] = []
        self._size = 0
        self._results: list[tuple[Request, list[bytes]]] = []

    def submit(self, reply_to: str, payload: bytes, now: int) -> bytes | None:
        """Take a request in. Returns the answer at once only when it is turned away."""
        try:
            commands = _request_decoder.decode(payload)
        except msgspec.MsgspecError as error:
            return _turn_away(RequestRefusal.MALFORMED, str(error))
        count, size = len(commands), len(payload)
        if not count:
            return _turn_away(RequestRefusal.MALFORMED, "no commands")
        if count > MAX_COMMANDS:
            return _turn_away(RequestRefusal.TOO_MANY_COMMANDS, f"at most {MAX_COMMANDS} in one request")
        if (self.backlog or count > self.backlog_room) and not self._has_room_for(commands, size):
            return _turn_away(RequestRefusal.OVERLOADED, "too many commands are waiting; try again in a second")
        self._backlog.append(Request(reply_to, commands, size, count))
        self.backlog += count
        self._backlog_bytes += size
        self._execute(now)
        return None

    @property
    def next_due(self) -> int | None:
        """When `advance` has to be called next, if it has."""
        return self.engine.next_due

    def advance(self, now: int) -> None:
        """Let expire what is due, and finish what the last outcome of the journal had no room for."""
        self._execute(now)

    def inspect(self, token: object, question: Callable[[Engine], object]) -> None:
        """Put a question to the engine; the answer comes with the next sealed commit, so it tells of durable state."""
        self._questions.append((token, question))

    def seal(self, now: int) -> Sealed | None:
        """Close the open commit, open the next and fill it from the backlog. None when there is nothing to do.

        Call it only when the commit sealed before is durable.
        """
        if not self._results and not self._questions and not self._commands:
            return None
        payload = self._write() if self._commands else None
        sequence, time, count = self.chain.sequence, now if self._time is None else self._time, len(self._commands)
        answers = self._answers(sequence, time)
        findings = [(token, question(self.engine)) for token, question in self._questions]
        self._questions = []
        self._open()
        self._execute(now)
        return Sealed(sequence, payload, answers, findings, count)

    def _answers(self, sequence: int, time: int) -> list[tuple[str, bytes]]:
        """To the requests that are executed to their end. The others, and what they had before, are rare."""
        answers: list[tuple[str, bytes]] = []
        part = _encoder.encode((sequence, time, ()))[:-1]
        only = _ANSWER + array_of((part,))
        for request, results in self._results:
            if not request.waiting and not request.parts:
                answers.append((request.reply_to, only + array_of(results)))
                continue
            request.parts.append(part + array_of(results))
            if not request.waiting:
                answers.append((request.reply_to, _ANSWER + array_of(request.parts)))
        return answers

    def _write(self) -> bytes:
        assert self._time is not None
        outcomes: Any = msgspec.Raw(array_of(self._outcomes))
        commit = next_commit(self.chain, self._time, tuple(self._commands), outcomes)
        payload, digest = encode_commit(commit)
        self.chain.advance(commit, digest)
        return payload

    def _has_room_for(self, commands: tuple[Command, ...], size: int) -> bool:
        if self.backlog and self._backlog_bytes + size > BACKLOG_BYTES:
            return False
        if self.backlog + len(commands) <= self.backlog_room:
            return True
        cancels_alone = all(type(command) in _CANCELS for command in commands)
        return cancels_alone and self.backlog + len(commands) <= self.backlog_room * CANCEL_ROOM

    def _execute(self, now: int) -> None:
        """Run waiting commands, and the matcher's own before them, until the open commit is full."""
        if self._time is None:
            self._execute_due(now)
        while self._backlog and self._has_room:
            if self._time is None:
                self._time = max(now, self.chain.time)
            request = self._backlog[0]
            self._execute_request(request, self._time)
            if not request.waiting:
                self._backlog.popleft()
                self._backlog_bytes -= request.size

    @property
    def _has_room(self) -> bool:
        return len(self._commands) < MAX_COMMANDS and self._size < COMMIT_BYTES

    def _execute_due(self, now: int) -> None:
        """As the first of a commit: what the last one left, and what is due. Nothing falls due later in it."""
        time = max(now, self.chain.time)
        if self.engine.unfinished:
            self._continue(time)
        due = self.engine.next_due
        if due is not None and due <= time and self._has_room:
            self._execute_own(AdvanceClock(), time)
            self._continue(time)

    def _continue(self, time: int) -> None:
        while self.engine.unfinished and self._has_room:
            self._execute_own(Continue(), time)

    def _execute_own(self, command: Command, time: int) -> None:
        self._time = time
        result = self.engine.apply(command, time, self.chain.sequence + 1)
        assert type(result) is Outcome
        encoded = _encoder.encode(result)
        self._commands.append(command)
        self._outcomes.append(encoded)
        self._size += len(encoded)

    def _execute_request(self, request: Request, time: int) -> None:
        results: list[bytes] = []
        self._results.append((request, results))
        self._size += request.size
        engine, sequence, encode = self.engine, self.chain.sequence + 1, _encoder.encode
        for command in request.commands[-request.waiting :]:
            result = engine.apply(command, time, sequence)
            encoded = encode(result)
            results.append(encoded)
            if type(result) is Outcome:
                self._commands.append(command)
                self._outcomes.append(encoded)
                self._size += len(encoded)
            if engine.unfinished:
                self._continue(time)
            if self._size >= COMMIT_BYTES or engine.unfinished:
                break
        request.waiting -= len(results)
        self.backlog -= len(results)


def next_commit(
    chain: Chain,
    time: int,
    commands: tuple[Command, ...] = (),
    outcomes: tuple[Outcome, ...] = (),
    barrier_state: bytes | None = None,
    journal_epoch: str | None = None,
) -> Commit:
    """The commit that follows `chain`; with `barrier_state` (the state's hash) a barrier, a new matcher's first."""
    epoch = chain.journal_epoch or journal_epoch
    assert epoch is not None
    return Commit(
        version=VERSION,
        journal_epoch=epoch,
        matcher_epoch=chain.matcher_epoch + (barrier_state is not None),
        sequence=chain.sequence + 1,
        previous_hash=chain.hash,
        time=max(time, chain.time),
        commands=commands,
        outcomes=outcomes,
        state_hash=barrier_state,
    )


def _turn_away(reason: RequestRefusal, detail: str) -> bytes:
    return _encoder.encode(RequestRefused(reason, detail))
