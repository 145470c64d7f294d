"""The Litestar application: the routes, and an answer for everything that is none of them."""

import logging
from typing import Any

from litestar import Litestar, Request, Response
from litestar.exceptions import HTTPException

from entry.problems import Problem, quoted
from gateway.http import address_of, problem_headers
from gateway.routes import Route, route_handlers

log = logging.getLogger(__name__)


def create_app(routes: list[Route]) -> Litestar:
    return Litestar(
        route_handlers=route_handlers(routes),
        openapi_config=None,
        logging_config=None,
        exception_handlers={HTTPException: _on_http_exception, Exception: _on_exception},
    )


def _on_http_exception(request: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
    """What Litestar itself refuses: an address or method that is not there, a host name that cannot be."""
    if error.status_code == 404:
        problem = Problem(code="not_found", detail=f"There is nothing at {quoted(request.scope['path'])}; see /docs.")
        return _response(problem)
    if error.status_code == 405:
        allowed = ", ".join(sorted((error.headers or {}).get("allow", "").split(", ")))
        detail = f"{request.method} is not possible here; possible: {allowed}."
        return _response(Problem(code="method_not_allowed", detail=detail), {"allow": allowed})
    if error.status_code < 500:
        return _response(Problem(code="bad_request", detail=error.detail or "The request cannot be read."))
    return _on_exception(request, error)


def _on_exception(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    return _response(mistake(request.scope, error))


def mistake(scope: Any, error: Exception) -> Problem:
    """Of ours. What a client is told, while the log is told the rest."""
    request = {"method": scope["method"], "path": scope["path"], "client": address_of(scope)}
    log.error("%s %s failed", scope["method"], scope["path"], exc_info=error, extra=request)
    detail = "The gateway made a mistake and has logged it. Whether a command was carried out, GET /orders tells."
    return Problem(code="internal_error", detail=detail)


def _response(problem: Problem, headers: dict[str, str] | None = None) -> Response[bytes]:
    named = {name.decode(): value.decode() for name, value in problem_headers(problem)}
    return Response(
        problem.content,
        status_code=problem.http_status,
        media_type="application/problem+json",
        headers=named | {"cache-control": "no-store"} | (headers or {}),
    )
