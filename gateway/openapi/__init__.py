"""The OpenAPI document, written out rather than derived: every answer that an address can give is in it.

Litestar could derive one from the handlers' types, but these read raw bytes, and the document must say more than types
can: which codes come with which status, that a price is a string or a number, that null means absent
(docs/decisions/0005). A test holds it against the routes, and Schemathesis against the running server.
"""

from collections.abc import Iterable, Iterator

from contracts.keys import Scope
from entry.problems import CODES
from gateway.openapi.operations import OPERATIONS, TAGS, Operation
from gateway.openapi.schemas import EXAMPLES, HEADERS, PARAMETERS, Json, ref, schemas

_PROBLEM_TYPE = "application/problem+json"
_KEY_CODES = ("unauthorized", "signature_invalid", "timestamp_outside_window", "signature_repeated", "rate_limited")
_DEFERRED_CODES = ("commands_unavailable", "too_many_deferred", "idempotency_key_reused", "invalid_parameter")
_DEFERRED_HEADERS = ("Location", "Preference-Applied", "Idempotent-Replayed")
_FILE_TYPES = ("text/csv", "application/x-ndjson")

_DESCRIPTION = """\
Prices and quantities are decimal strings in every answer; in requests a string or a number, of which the literal
counts. Times are ISO 8601 in UTC with microseconds. A field that is null in a request is a field left out.

**Errors** are `application/problem+json` (RFC 9457). `code` is stable and made for programs, `detail` says what to do,
`field` names what it is about; [all codes](/docs/errors). 400: the request does not have the shape described here.
422: it does, and a rule of the exchange refuses it. Refused commands change nothing.

**Read your own writes**: reads wait until they show everything that this gateway has told anybody. Told by another
gateway or over NATS? Send the `Journal-Sequence` of that answer with the read.

**Keys** are needed once there are any: `Authorization: Bearer pt_...`, or signed requests. Each operation names the
scope that it needs; market data needs none. Without keys the exchange serves its own machine only, and everybody on it
may do everything.
"""

_SECURITY_SCHEMES: Json = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "A key, as `pricetime keys create` shows it once."},
    "signed": {
        "type": "apiKey",
        "in": "header",
        "name": "Pricetime-Signature",
        "description": "With Pricetime-Key and Pricetime-Timestamp: the key itself is never sent.",
    },
}


def document(version: str) -> Json:
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Pricetime",
            "version": version,
            "summary": "An order-matching exchange in a box",
            "description": _DESCRIPTION,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "tags": [{"name": name} for name in TAGS],
        "paths": _paths(),
        "components": {
            "schemas": schemas(),
            "parameters": PARAMETERS,
            "headers": HEADERS,
            "examples": {code: {"value": _problem_example(row.status, code)} for code, row in CODES.items()},
            "securitySchemes": _SECURITY_SCHEMES,
        },
    }


def _paths() -> Json:
    paths: Json = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method] = _operation(operation)
    return paths


def _operation(operation: Operation) -> Json:
    described: Json = {
        "operationId": operation.name,
        "summary": operation.summary,
        "tags": [operation.tag],
        "responses": {
            **{str(status): _answer(*answer) for status, answer in _answers(operation)},
            **_problems([*operation.codes, *_always(operation)]),
        },
    }
    if description := _description(operation):
        described["description"] = description
    if parameters := [*operation.parameters, *(("Prefer",) if operation.is_deferrable else ())]:
        described["parameters"] = [{"$ref": f"#/components/parameters/{_key(name)}"} for name in parameters]
    if operation.scope is not None:
        described["security"] = [{}, {"bearer": []}, {"signed": []}]
    if operation.body is not None:
        content = {"schema": ref(operation.body), "examples": EXAMPLES[operation.body]}
        described["requestBody"] = {"required": True, "content": {"application/json": content}}
    return described


def _description(operation: Operation) -> str:
    scope = "" if operation.scope is None else f"Scope: `{operation.scope.value}`."
    return "\n\n".join(part for part in (operation.description, scope) if part)


def _answers(operation: Operation) -> Iterator[tuple[int, tuple[str, str, tuple[str, ...]]]]:
    yield from operation.answers.items()
    if operation.is_deferrable:
        yield 202, ("Stored, to be carried out later; Location tells where to ask", "Accepted", _DEFERRED_HEADERS)


def _always(operation: Operation) -> Iterator[str]:
    """What any operation of its kind can answer."""
    yield "internal_error"
    if operation.tag == "health":
        return
    yield from ("unknown_parameter", "overloaded")
    yield from _KEY_CODES
    if operation.scope in (Scope.TRADE, Scope.ADMIN) or operation.tag in ("accounts", "exports"):
        yield "forbidden"
    if operation.is_deferrable:
        yield from _DEFERRED_CODES


def _answer(description: str, schema: str, headers: tuple[str, ...]) -> Json:
    types = _FILE_TYPES if schema == "File" else ("application/json",)
    described: Json = {"description": description, "content": {each: {"schema": ref(schema)} for each in types}}
    if headers:
        described["headers"] = {name: {"$ref": f"#/components/headers/{name}"} for name in headers}
    return described


def _problems(codes: Iterable[str]) -> Json:
    """One response per status, naming its codes."""
    by_status: dict[int, list[str]] = {}
    for code in dict.fromkeys(codes):
        name, _, place = code.partition(" in ")
        by_status.setdefault(404 if place else CODES[name].status, []).append(name)
    return {str(status): _problem(status, names) for status, names in sorted(by_status.items())}


def _problem(status: int, codes: list[str]) -> Json:
    described: Json = {
        "description": "\n".join(f"- `{code}`: {CODES[code].meaning}" for code in codes),
        "content": {
            _PROBLEM_TYPE: {
                "schema": {
                    "allOf": [ref("Problem"), {"properties": {"code": {"enum": codes}, "status": {"const": status}}}]
                },
                "examples": {code: _example(status, code) for code in codes},
            }
        },
    }
    header = {401: "WWW-Authenticate", 429: "Retry-After", 503: "Retry-After"}.get(status)
    if header is not None:
        described["headers"] = {header: {"$ref": f"#/components/headers/{header}"}}
    return described


def _example(status: int, code: str) -> Json:
    if status == CODES[code].status:
        return {"$ref": f"#/components/examples/{code}"}
    return {"value": _problem_example(status, code)}


def _problem_example(status: int, code: str) -> Json:
    return {
        "type": f"/docs/errors#{code}",
        "title": CODES[code].title,
        "status": status,
        "detail": CODES[code].meaning,
        "code": code,
    }


def _key(parameter: str) -> str:
    return parameter.replace(" ", "_")
