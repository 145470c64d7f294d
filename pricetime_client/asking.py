"""How a request is carried through: repeated while there is no definite answer, and only while that can do no harm.

Pure: a conversation is a generator that yields what is to be done next, a Request or a Spoken to send or a Pause to
make, and is sent what came of it. Those that block and those that do not hold the same conversations.
"""

from collections.abc import Generator, Mapping
from typing import Any, NoReturn, TypeVar

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from pricetime_client.errors import NoAnswer, Refusal
from pricetime_client.views import Problem

_FIRST_PAUSE_SECONDS = 0.05
_LONGEST_PAUSE_SECONDS = 1.0
_NOTHING_WAS_DONE = (429, 503)
_DONE_BUT_NOT_TOLD = "journal_unavailable"


class Request(Struct, frozen=True, kw_only=True):
    """To REST. `target`: path and query. `client_order_id`: of the order that it places. `timeout`: seconds for one
    attempt; None: as the client has it."""

    method: str
    target: str
    body: bytes = b""
    client_order_id: str | None = None
    timeout: float | None = None

    @property
    def changes(self) -> bool:
        """Whether anything is different when it has been carried out."""
        return self.method != "GET"

    def __str__(self) -> str:
        return f"{self.method} {self.target}"


class Spoken(Struct, frozen=True, kw_only=True):
    """To the WebSocket connection of a stream: an operation, and its fields as JSON has them."""

    op: str
    fields: Mapping[str, Any]
    client_order_id: str | None = None

    @property
    def changes(self) -> bool:
        return True

    def __str__(self) -> str:
        return f"{self.op} over WebSocket"


class Pause(Struct, frozen=True):
    seconds: float


class Answer(Struct, frozen=True, kw_only=True):
    """`began`, `ended`: when the request was sent and this was there, by a clock that never goes back."""

    began: float
    ended: float
    status: int
    headers: Mapping[str, str]
    body: bytes


class Lost(Struct, frozen=True, kw_only=True):
    """No answer. `was_sent`: the exchange may have got the request. `is_final`: to try again is of no use."""

    began: float
    ended: float
    why: str
    was_sent: bool
    is_final: bool = False


Ask = Request | Spoken
Step = Ask | Pause
Came = Answer | Lost | None
"""What came of a step; None of a pause."""
T = TypeVar("T")
Conversation = Generator[Step, Came, T]

_problem_decoder = msgspec.json.Decoder(Problem)


class Definite(Struct, frozen=True):
    """An answer that decides it. `after_unknown`: an earlier attempt may have been carried out."""

    answer: Answer
    after_unknown: bool


def definite(request: Ask, patience: float) -> Conversation[Definite]:
    """Repeats until the exchange has decided. Raises Refusal or NoAnswer when that takes longer than `patience`."""
    unknown = signed_again = False
    deadline: float | None = None
    pause = _FIRST_PAUSE_SECONDS
    while True:
        came = yield request
        assert came is not None
        if isinstance(came, Answer) and not _is_passing(came):
            if signed_again or not _was_signed_too_soon(came):
                return Definite(came, unknown)
            signed_again = True
        unknown = unknown or (request.changes and _may_have_been_done(came))
        deadline = came.began + patience if deadline is None else deadline
        wait = max(pause, _retry_after(came) or 0.0)
        if came.ended + wait > deadline or (isinstance(came, Lost) and came.is_final):
            _give_up(request, came, unknown=unknown)
        yield Pause(wait)
        pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)


def read(answer: Answer, wanted: type[T]) -> T:
    """What the answer holds. Raises Refusal; NoAnswer for what is not of an exchange."""
    if answer.status >= 400:
        raise refusal(answer)
    try:
        return msgspec.json.decode(answer.body, type=wanted)
    except msgspec.MsgspecError as error:
        raise NoAnswer(f"the answer is not one of an exchange: {error}", unknown=True) from error


def refusal(answer: Answer) -> Refusal:
    problem = problem_of(answer.status, answer.body)
    return Refusal(replace(problem, retry_after=_retry_after(answer)))


def problem_of(status: int, body: bytes) -> Problem:
    """The problem in an answer; also of one that something between us and the exchange has made."""
    try:
        return _problem_decoder.decode(body)
    except msgspec.MsgspecError:
        said = " ".join(body.decode(errors="replace").split())[:200]
        return Problem(status=status, code=f"http_{status}", detail=said or "an answer that is not of the exchange")


def _is_passing(answer: Answer) -> bool:
    return answer.status >= 500 or answer.status == 429


def _was_signed_too_soon(answer: Answer) -> bool:
    """It waited while the gateway was started anew, which takes no signature from before: another will do. Once, as
    the clocks may disagree for good."""
    return answer.status == 401 and problem_of(answer.status, answer.body).code == "timestamp_outside_window"


def _may_have_been_done(came: Answer | Lost) -> bool:
    if isinstance(came, Lost):
        return came.was_sent
    code = problem_of(came.status, came.body).code
    said_so = came.status in (*_NOTHING_WAS_DONE, 401) and not code.startswith("http_")
    return not said_so or code == _DONE_BUT_NOT_TOLD


def _retry_after(came: Answer | Lost) -> float | None:
    """Seconds; said in a header by REST, in the problem over WebSocket."""
    if isinstance(came, Lost):
        return None
    try:
        return float(came.headers.get("Retry-After", ""))
    except ValueError:
        return problem_of(came.status, came.body).retry_after


def _give_up(request: Ask, came: Answer | Lost, *, unknown: bool) -> NoReturn:
    if isinstance(came, Answer) and not unknown:
        raise refusal(came)
    why = came.why if isinstance(came, Lost) else str(refusal(came))
    if unknown:
        raise NoAnswer(
            f"no answer to {request}, which may have been carried out ({why})",
            unknown=True,
            client_order_id=request.client_order_id,
        )
    raise NoAnswer(f"the exchange does not answer ({why})", unknown=False, client_order_id=request.client_order_id)
