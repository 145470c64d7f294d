"""Answers that must be problems."""

from typing import Any

import httpx

from entry.problems import CODES


def problem(response: httpx.Response, status: int, code: str) -> Any:
    """The problem in an answer, which must be this one and well made."""
    assert response.headers["content-type"] == "application/problem+json", response.text
    found = response.json()
    assert (response.status_code, found["status"], found["code"]) == (status, status, code), response.text
    assert found["type"] == f"/docs/errors#{code}"
    assert found["title"] == CODES[code].title
    assert len(found["detail"]) > 20
    if status == 503:
        assert int(response.headers["retry-after"]) >= 1
    return found
