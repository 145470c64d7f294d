"""How a request ends that was not answered with what it asked for. Pure."""

from pricetime_client.views import OrderStatus, Problem


class ExchangeError(Exception):
    """The message is one line, for people."""


class Refusal(ExchangeError):
    """The exchange said no, and nothing was changed. `code` is a promise to programs: /docs/errors lists them."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.detail)
        self.problem = problem

    @property
    def code(self) -> str:
        return self.problem.code

    @property
    def status(self) -> int:
        return self.problem.status

    @property
    def detail(self) -> str:
        return self.problem.detail

    @property
    def retry_after(self) -> float | None:
        """In how many seconds it may be different; None: not by waiting."""
        return self.problem.retry_after

    @property
    def order_id(self) -> int | None:
        return self.problem.order_id

    @property
    def order_status(self) -> OrderStatus | None:
        """What became of an order that is not open any more."""
        return self.problem.order_status

    def __str__(self) -> str:
        return f"{self.code}: {self.detail}"


class NoAnswer(ExchangeError):
    """There was no definite answer for as long as the client had patience.

    `unknown`: the command may have been carried out. Doing it again with the same `client_order_id` is safe.
    """

    def __init__(self, why: str, *, unknown: bool, client_order_id: str | None = None) -> None:
        super().__init__(why)
        self.unknown = unknown
        self.client_order_id = client_order_id
