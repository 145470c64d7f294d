"""The codes that only a WebSocket client meets; the others are those of entry/problems.py, with the same meaning."""

from entry.problems import ERRORS_PAGE, Code, Declined, Problem, ProblemView, view

STREAM_CODES: dict[str, Code] = {
    "unknown_operation": Code(400, "Unknown operation", "`op` is none of the operations that there are."),
    "unknown_channel": Code(400, "Unknown channel", "`channel` is none of the channels that there are."),
    "not_text": Code(400, "Not text", "A message must be a text frame that holds one JSON object."),
    "already_subscribed": Code(409, "Already subscribed", "This connection has this subscription already."),
    "not_subscribed": Code(404, "Not subscribed", "This connection has no such subscription."),
    "too_many_subscriptions": Code(
        429, "Too many subscriptions", "This connection has as many subscriptions as one may have."
    ),
    "too_many_requests": Code(
        429, "Too many requests", "This connection sends more requests a second than one may. This one was not done."
    ),
    "message_too_large": Code(413, "Message too large", "The message is larger than this server reads."),
    "gap": Code(
        410, "Gap", "What came after the sequence asked for is no longer at hand: start anew, and read what is missing."
    ),
    "ahead": Code(416, "Ahead", "There is no such sequence yet: was it another exchange, or a restored one?"),
    "book_too_large": Code(422, "Book too large", "The book has more levels than are sent at once; ask for fewer."),
    "slow_consumer": Code(
        429, "Slow consumer", "The client reads too slowly for messages that must not be left out. It is closed (4008)."
    ),
    "key_ended": Code(401, "Key ended", "The key was revoked or has expired, or keys are needed now. Closed (4001)."),
}


class StreamDeclined(Exception):
    """Raised with a code of the table above; like Declined, whose codes are HTTP's."""

    def __init__(self, code: str, detail: str, field: str | None = None) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.field = field

    @property
    def view(self) -> ProblemView:
        code = STREAM_CODES[self.code]
        return ProblemView(
            type=f"{ERRORS_PAGE}#{self.code}",
            title=code.title,
            status=code.status,
            detail=self.detail,
            code=self.code,
            field=self.field,
        )


def problem_view(error: Declined | StreamDeclined) -> ProblemView:
    return view(error.problem) if isinstance(error, Declined) else error.view


def internal_error(detail: str) -> ProblemView:
    return view(Problem(code="internal_error", detail=detail))
