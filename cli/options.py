"""What the options of several commands say, and how they are read: one line when it cannot be."""

import argparse
import re
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

from cli.runfile import DATA
from contracts.messages import NAME_PATTERN, SYMBOL_PATTERN
from runtime.settings import PREFIX

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_NAMED = "name:"  # with a character that no name has
_DECIMAL = re.compile(r"[0-9]{1,40}(\.[0-9]{1,40})?")

ORDER = "its id, or your own name for it, as name:17 if that is a number"
"""What `order` reads, for the help of a command."""
MOMENTS = "2026-11-21T09:30:00, 2026-11-21, 09:30 (today), or how long ago: 90s, 10m, 2h, 1d"
"""How a time can be given; it is UTC unless it says otherwise."""


def add_data(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, default=DATA, metavar="DIR", help="folder of the running exchange")


def add_nats(parser: argparse.ArgumentParser) -> None:
    """For those who ask over NATS as the operator: see cli.asking.address."""
    add_data(parser)
    parser.add_argument("--nats", metavar="URL", help=f"its NATS address instead, as operator (or {PREFIX}NATS_URL)")


def whole(what: str, hint: str) -> Callable[[str], int]:
    """A number from 1."""

    def read(text: str) -> int:
        if not re.fullmatch(r"[1-9][0-9]{0,17}", text):
            raise argparse.ArgumentTypeError(f"{text!r} is no {what}: {hint}")
        return int(text)

    return read


count = whole("number", "give 1 or more")
order_id = whole("order id", "give a whole number, as `pricetime orders` shows it")


def order(text: str) -> int | str:
    """An order's id, or its client's own name for it: where that is digits only, or to be sure, written name:17."""
    if text.startswith(_NAMED):
        return name(text.removeprefix(_NAMED))
    return int(text) if re.fullmatch(r"[1-9][0-9]{0,17}", text) else name(text)


def decimal(text: str) -> str:
    """As written: the exchange says whether it fits the instrument."""
    if not _DECIMAL.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no price or quantity: give a number such as 99.50")
    return text


def symbol(text: str) -> str:
    if not re.fullmatch(SYMBOL_PATTERN, text):
        raise argparse.ArgumentTypeError(f"{text!r} cannot be a symbol; `pricetime instruments` shows those there are")
    return text


def name(text: str) -> str:
    """Of an account, or a client's own for an order."""
    if not re.fullmatch(NAME_PATTERN, text):
        raise argparse.ArgumentTypeError(f"{text!r} cannot be a name: 1 to 64 letters, digits, hyphens or underscores")
    return text


def duration(text: str) -> timedelta:
    found = re.fullmatch(r"([1-9][0-9]{0,5})([smhd])", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time such as 45s, 30m, 12h or 90d")
    return timedelta(seconds=int(found[1]) * _UNITS[found[2]])


def past(text: str) -> datetime:
    """A time that has been."""
    return moment(text, datetime.now(UTC), backwards=True)


def future(text: str) -> datetime:
    """A time to come: a duration is counted from now."""
    return moment(text, datetime.now(UTC), backwards=False)


def moment(text: str, now: datetime, *, backwards: bool) -> datetime:
    """
    >>> moment("09:30", datetime(2026, 11, 21, 12, tzinfo=UTC), backwards=True).isoformat()
    '2026-11-21T09:30:00+00:00'
    >>> moment("2h", datetime(2026, 11, 21, 12, tzinfo=UTC), backwards=True).isoformat()
    '2026-11-21T10:00:00+00:00'
    """
    try:
        if re.fullmatch(r"[0-9]+[smhd]", text):
            return now - duration(text) if backwards else now + duration(text)
        if re.fullmatch(r"[0-9]{1,2}:[0-9:.]+", text):
            return datetime.combine(now.date(), time.fromisoformat(f"0{text}" if text[1] == ":" else text), UTC)
        if re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text):
            return datetime.combine(date.fromisoformat(text), time(), UTC)
        given = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        raise argparse.ArgumentTypeError(f"{text!r} is no time: give {MOMENTS}") from None
    return given if given.tzinfo else given.replace(tzinfo=UTC)


def microseconds(given: datetime) -> int:
    """Since 1970, as the journal counts."""
    return (given - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
