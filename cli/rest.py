"""How the commands that trade and read reach the exchange: its address, the key, and refusals in one line.

--url URL, or PRICETIME_URL          REST, of an exchange anywhere
--data DIR                           the exchange that runs on this folder (default: .pricetime)
--key-file FILE, or PRICETIME_KEY    an API key, where there are keys; not as an option, which others could read
"""

import argparse
import os
import ssl
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple, TypeVar

import msgspec

from cli.errors import CommandError
from cli.runfile import DATA, running_exchange
from pricetime_client import AsyncExchange, Exchange, NoAnswer, Refusal
from runtime.settings import CLIENT_KEY, CLIENT_URL

T = TypeVar("T")

PATIENCE_SECONDS = 10.0
"""How long a command repeats what has no definite answer; somebody is waiting at a terminal."""


class Where(NamedTuple):
    url: str
    ws_url: str | None
    key: str | None
    signed: bool
    verify: ssl.SSLContext | bool


def add_exchange(parser: argparse.ArgumentParser) -> None:
    exchange = parser.add_argument_group("which exchange")
    address = exchange.add_mutually_exclusive_group()
    address.add_argument("--url", metavar="URL", help=f"address of its REST interface (or {CLIENT_URL})")
    address.add_argument("--data", type=Path, metavar="DIR", help=f"or the one that runs on this folder ({DATA})")
    exchange.add_argument(
        "--key-file", type=Path, metavar="FILE", help=f"an API key, where there are keys (or {CLIENT_KEY})"
    )
    exchange.add_argument("--signed", action="store_true", help="sign each request with it, and never send it")


def add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="as JSON, one line each")


def where(arguments: argparse.Namespace) -> Where:
    """What the options say, then the environment, then what runs here. Raises CommandError."""
    url = arguments.url or (None if arguments.data else os.environ.get(CLIENT_URL))
    key = _key(arguments.key_file)
    if url:
        return Where(url, None, key, arguments.signed, True)
    running = running_exchange(arguments.data or DATA)
    return Where(running.http, f"{running.ws}/ws", key, arguments.signed, running.https)


def _key(file: Path | None) -> str | None:
    if file is None:
        return os.environ.get(CLIENT_KEY) or None
    try:
        return file.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"cannot read the key in {file}: {getattr(error, 'strerror', None) or error}") from error


@contextmanager
def exchange(arguments: argparse.Namespace) -> Iterator[Exchange]:
    """Raises CommandError for whatever the exchange refuses within."""
    at = where(arguments)
    with (
        told_in_one_line(at),
        Exchange(at.url, at.key, signed=at.signed, patience=PATIENCE_SECONDS, verify=at.verify) as connected,
    ):
        yield connected


@contextmanager
def async_exchange(arguments: argparse.Namespace) -> Iterator[AsyncExchange]:
    """Is to be entered itself: `async with`. Raises CommandError for whatever the exchange refuses within."""
    at = where(arguments)
    with told_in_one_line(at):
        yield AsyncExchange(at.url, at.ws_url, at.key, signed=at.signed, patience=PATIENCE_SECONDS, verify=at.verify)


@contextmanager
def told_in_one_line(at: Where) -> Iterator[None]:
    try:
        yield
    except Refusal as error:
        raise CommandError(refused(error)) from error
    except NoAnswer as error:
        raise CommandError(unanswered(error, at.url)) from error
    except ValueError as error:  # the client's word on an address or a key that cannot be one
        raise CommandError(str(error)) from error


_WHAT_TO_DO = {
    "unauthorized": f"here it goes into {CLIENT_KEY}, or into a file that --key-file names",
    "rate_limited": "try again in a moment",
}


def refused(error: Refusal) -> str:
    """Why, what to do, and the code that programs know it by."""
    hint = _WHAT_TO_DO.get(error.code)
    return f"{error.detail.rstrip('.')}{'' if hint is None else '; ' + hint} ({error.code})"


def unanswered(error: NoAnswer, url: str) -> str:
    if error.unknown and error.client_order_id:
        return (
            f"{error}; `pricetime orders` tells, and so does sending it again with --client-order-id "
            f"{error.client_order_id}: it is placed once"
        )
    if error.unknown:
        return f"{error}; look with `pricetime orders` before you do it again"
    return f"{error} at {url}; `pricetime status` shows which part is away"


def print_json(item: object) -> None:
    """As the exchange itself has it: decimals plain, never as 0E-8. At once, also where a program reads it."""
    print(msgspec.json.encode(_plain(msgspec.to_builtins(item, builtin_types=(Decimal,)))).decode(), flush=True)


def _plain(value: object) -> object:
    match value:
        case Decimal():
            return format(value, "f")
        case dict():
            return {name: _plain(each) for name, each in value.items()}
        case list() | tuple():
            return [_plain(each) for each in value]
        case _:
            return value


def each_of(items: list[T], act: Callable[[T], None], name: Callable[[T], str]) -> int:
    """Do it for every item, whatever becomes of the others. 0 when none was refused, else 2."""
    code = 0
    for item in items:
        try:
            act(item)
        except Refusal as error:
            print(f"pricetime: {name(item)}: {refused(error)}", file=sys.stderr)
            code = 2
    return code
