"""The addresses of orders, answered without asking Litestar what they are. An ASGI application around Litestar's.

Routing, signatures and exit stacks took a fifth of what an order cost here, and an address that is looked up needs none
of them (docs/decisions/0031). Only what is exactly one of these is answered here: any other spelling, method or address
is Litestar's, which is why both answer alike.
"""

from collections.abc import Iterable
from typing import Any

from litestar.types import ASGIApp, Receive, Send

from gateway.answer_writer import AnswerWriter
from gateway.app import mistake
from gateway.http import HttpAnswer, HttpRequest, problem_answer
from gateway.routes import Route, answered


class DirectRoutes:
    """Answers those of `routes` whose address is fixed, or varies in its last part alone."""

    def __init__(self, app: ASGIApp, routes: Iterable[Route]) -> None:
        self._app = app
        self._fixed: dict[tuple[str, str], Route] = {}
        self._varied: dict[tuple[str, str], tuple[Route, str]] = {}
        self._fixed_parts: set[str] = set()
        """Those are never the variable part of another address."""
        for route in routes:
            start, _, last = route.path.rpartition("/")
            self._fixed_parts.add(route.path.partition("{")[0].rstrip("/"))
            if "{" not in route.path:
                self._fixed[route.method, route.path] = route
            elif "{" not in start:
                self._varied[route.method, start] = route, last.strip("{}").removesuffix(":str")

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        found = self._find(scope["method"], scope["path"])
        if found is None:
            await self._app(scope, receive, send)
            return
        route, path_params = found
        answer: HttpAnswer
        try:
            answer = await answered(route, HttpRequest(scope, receive, path_params))
        except Exception as error:
            answer = problem_answer(mistake(scope, error))
        if not isinstance(send, AnswerWriter) or not send.write(answer):
            await answer(scope, receive, send)

    def _find(self, method: str, path: str) -> tuple[Route, dict[str, str]] | None:
        if route := self._fixed.get((method, path)):
            return route, {}
        start, _, last = path.rpartition("/")
        if not last or path in self._fixed_parts or (varied := self._varied.get((method, start))) is None:
            return None
        return varied[0], {varied[1]: last}
