"""Pages of a list, newest first: filters from the query, the cursor to go on from, and the SQL for both.

Pure. A cursor is the id of the last item as 8 bytes in base64url; to clients it is opaque, and every string that fits
CURSOR_PATTERN is one.
"""

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from contracts.messages import DEFAULT_ACCOUNT, OrderStatus
from contracts.orders import OPEN_STATUSES
from entry.commands import SIDES, choice, is_name, is_symbol, order_id
from entry.problems import declined, quoted
from entry.values import MOMENT_PATTERN

DEFAULT_LIMIT = 100
MAX_LIMIT = 1000
CURSOR_PATTERN = "^[A-Za-f][A-Za-z0-9_-]{9}[AEIMQUYcgkosw048]$"

DATE_PATTERN = "^[0-9]{4}-[0-9]{2}-[0-9]{2}$"

STATUSES = {status.value: status for status in OrderStatus}

Query = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Page:
    """At most `limit` items with the conditions, ids below `before` if that is given."""

    conditions: tuple[tuple[str, object], ...]
    limit: int
    before: int | None

    def narrowed(self, condition: str, value: object) -> "Page":
        return replace(self, conditions=(*self.conditions, (condition, value)))

    def where(self, key: str) -> tuple[str, list[object]]:
        """The WHERE clause over the id column `key`, and its arguments from $1 on."""
        conditions = self.conditions if self.before is None else (*self.conditions, (f"{key} < ?", self.before))
        clauses = [clause.replace("?", f"${number}") for number, (clause, _) in enumerate(conditions, 1)]
        return (f"WHERE {' AND '.join(clauses)}" if clauses else ""), [value for _, value in conditions]


def orders_page(query: Query) -> Page:
    """Raises Declined when a filter cannot be right."""
    conditions: list[tuple[str, object]] = []
    if "account" in query or "client_order_id" in query:  # a client_order_id is a name within an account
        account = query.get("account", DEFAULT_ACCOUNT)
        conditions.append(("o.account = ?", name_filter(account, "account")))
    if "client_order_id" in query:
        conditions.append(("o.client_order_id = ?", name_filter(query["client_order_id"], "client_order_id")))
    if "symbol" in query:
        conditions.append(("o.symbol = ?", symbol_filter(query["symbol"])))
    if "status" in query:
        conditions.append(_status_condition(choice(query["status"], STATUSES, "status")))
    if "side" in query:
        conditions.append(("o.side = ?", choice(query["side"], SIDES, "side").value))
    return Page(tuple(conditions), page_limit(query), _before(query))


def _status_condition(status: OrderStatus) -> tuple[str, object]:
    """Open orders are few among all, and listed apart; no index finds them (docs/decisions/0032)."""
    if status in OPEN_STATUSES:
        return "o.status = ? AND o.order_id IN (SELECT order_id FROM open_orders)", status.value
    return "o.status = ?", status.value


def trades_page(query: Query) -> Page:
    """Raises Declined when a filter cannot be right."""
    conditions: list[tuple[str, object]] = []
    if "symbol" in query:
        conditions.append(("t.symbol = ?", symbol_filter(query["symbol"])))
    if "order_id" in query:
        conditions.append(("(t.maker_order_id = ? OR t.taker_order_id = ?)", order_id(query["order_id"])))
    return Page(tuple(conditions), page_limit(query), _before(query))


def next_page(query: Query) -> Page:
    """A page of a list that has no filters."""
    return Page((), page_limit(query), _before(query))


def cursor_after(last_id: int) -> str:
    return base64.urlsafe_b64encode(last_id.to_bytes(8)).decode().rstrip("=")


def whole_number(written: str, name: str, least: int, most: int) -> int:
    if re.fullmatch(r"-?[0-9]{1,19}", written) and least <= (number := int(written)) <= most:
        return number
    raise declined(
        "invalid_parameter", f"{name} must be a whole number from {least} to {most}, not {quoted(written)}.", name
    )


def moment(query: Query, name: str) -> datetime | None:
    """A parameter that is a point in time; a date alone is its midnight in UTC. Raises Declined."""
    written = query.get(name)
    if written is None:
        return None
    at = _moment(written)
    if at is None:
        hint = " (a plus sign in an address must be written %2B)" if " " in written else ""
        raise declined(
            "invalid_parameter",
            f"{name} must be a time with its zone, as in 2025-05-01T09:30:00Z, or a date, not {quoted(written)}{hint}.",
            name,
        )
    return at


def _moment(written: str) -> datetime | None:
    if re.fullmatch(DATE_PATTERN, written):
        written += "T00:00:00Z"
    elif not re.fullmatch(MOMENT_PATTERN, written):
        return None
    try:
        return datetime.fromisoformat(written.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def page_limit(query: Query) -> int:
    return whole_number(query["limit"], "limit", 1, MAX_LIMIT) if "limit" in query else DEFAULT_LIMIT


def _before(query: Query) -> int | None:
    cursor = query.get("cursor")
    if cursor is None:
        return None
    if not re.fullmatch(CURSOR_PATTERN, cursor):
        raise declined(
            "invalid_cursor",
            f"{quoted(cursor)} is no cursor of this list: send next_cursor of the page before, or none to begin.",
            "cursor",
        )
    return int.from_bytes(base64.urlsafe_b64decode(cursor + "="))


def symbol_filter(symbol: str) -> str:
    if is_symbol(symbol):
        return symbol
    raise declined("invalid_parameter", f"{quoted(symbol)} cannot be a symbol.", "symbol")


def name_filter(name: str, parameter: str) -> str:
    if is_name(name):
        return name
    raise declined("invalid_parameter", f"{quoted(name)} cannot be the value of {parameter}.", parameter)
