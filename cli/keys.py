"""`pricetime keys`: makes, lists and revokes the API keys of a running exchange.

    pricetime keys create --accounts anna              reads and trades for account anna
    pricetime keys create --scopes read --all-accounts --name auditor
    pricetime keys create --scopes admin               everything, for every account
    pricetime keys list
    pricetime keys revoke 3f9c62d01b7e

A key is shown once, when it is made; the exchange keeps a hash of it. It takes effect at once, and so does its end.
"""

import argparse
import asyncio
import re
import secrets
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import TypeVar

from nats.errors import Error as NatsError

from cli.asking import address, connected
from cli.errors import CommandError
from cli.options import add_nats, duration
from cli.runfile import meant_folder, read_run_file, run_file_path
from cli.tables import columns
from contracts.keys import ID_BYTES, SECRET_BYTES, KeyRecord, Scope, format_key, hash_secret, parse_key_id
from contracts.messages import NAME_PATTERN
from contracts.views import format_time
from runtime.clock import now
from runtime.connection import without_password
from runtime.keys import KeyChanged, KeyStore, StoredKey
from runtime.tls import NatsTls

_Result = TypeVar("_Result")

_HTTP = "http://127.0.0.1:8000"
_MAX_RATE = 1_000_000
_MAX_NAME = 64
_ANSWER_SECONDS = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    create = commands.add_parser("create", help="make a key and show it, once")
    create.add_argument(
        "--scopes",
        type=_scopes,
        default=(Scope.READ, Scope.TRADE),
        metavar="S,S",
        help="read, trade, admin (default: read,trade)",
    )
    whose = create.add_mutually_exclusive_group()
    whose.add_argument("--accounts", type=_accounts, metavar="A,A", help="the accounts that it acts for")
    whose.add_argument("--all-accounts", action="store_true", help="it acts for every account")
    create.add_argument("--name", type=_name, default="", metavar="N", help="a note for the list")
    create.add_argument("--rate", type=_rate, metavar="N", help="requests a second (default: the setting rate_limit)")
    create.add_argument("--expires", type=duration, metavar="TIME", help="it ends after so long: 90d, 12h, 30m, 45s")
    create.add_argument("--signed-only", action="store_true", help="requests must be signed; the key is never sent")
    create.add_argument("--quiet", action="store_true", help="print the key and nothing else")
    revoke = commands.add_parser("revoke", help="end a key, at once and for good")
    revoke.add_argument("key", metavar="ID", help="its id, as in the list")
    listing = commands.add_parser("list", help="show the keys, without what is secret in them")
    for command in (create, revoke, listing):
        add_nats(command)


def run(arguments: argparse.Namespace) -> int:
    match arguments.action:
        case "create":
            print(_create(arguments))
        case "revoke":
            print(_revoke(arguments))
        case _:
            print("\n".join(_rows([each.record for each in _with_store(arguments, KeyStore.all) if each.record])))
    return 0


# What the options say


def _scopes(text: str) -> tuple[Scope, ...]:
    known = {scope.value: scope for scope in Scope}
    given = [each.strip().lower() for each in text.split(",")]
    for each in given:
        if each not in known:
            raise argparse.ArgumentTypeError(f"{each!r} is no scope: give some of {', '.join(known)}")
    return tuple(scope for scope in Scope if scope.value in given)


def _accounts(text: str) -> tuple[str, ...]:
    given = tuple(dict.fromkeys(each.strip() for each in text.split(",")))
    for each in given:
        if not re.fullmatch(NAME_PATTERN, each):
            raise argparse.ArgumentTypeError(f'{each!r} cannot be an account: 1 to 64 letters, digits, "-" or "_"')
    return given


def _name(text: str) -> str:
    if len(text) > _MAX_NAME or not text.isprintable():
        raise argparse.ArgumentTypeError(f"a name is one line of at most {_MAX_NAME} characters")
    return text


def _rate(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or not 1 <= int(text) <= _MAX_RATE:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of requests a second: 1 to {_MAX_RATE}")
    return int(text)


# create


def _create(arguments: argparse.Namespace) -> str:
    secret = secrets.token_hex(SECRET_BYTES)
    record = _record(arguments, secret)

    async def write(store: KeyStore) -> bool:
        is_first = not await store.all()
        await store.write(record)
        return is_first

    is_first = _with_store(arguments, write)
    key = format_key(record.id, secret)
    return key if arguments.quiet else "\n".join(_introduction(record, key, secret, _http(arguments), is_first))


def _record(arguments: argparse.Namespace, secret: str) -> KeyRecord:
    is_admin = Scope.ADMIN in arguments.scopes
    if is_admin and arguments.accounts:
        raise CommandError("a key with the scope admin acts for every account; leave --accounts out")
    if not (is_admin or arguments.accounts or arguments.all_accounts):
        raise CommandError("which accounts is the key for? give --accounts A,B (or --all-accounts)")
    time = now()
    return KeyRecord(
        id=secrets.token_hex(ID_BYTES),
        secret_hash=hash_secret(secret),
        scopes=arguments.scopes,
        accounts=arguments.accounts,
        created_at=time,
        name=arguments.name,
        rate=arguments.rate,
        signed_only=arguments.signed_only,
        expires_at=None if arguments.expires is None else time + arguments.expires // timedelta(microseconds=1),
    )


def _introduction(record: KeyRecord, key: str, secret: str, http: str, is_first: bool) -> list[str]:
    lines = [f"Key {record.id}: {_rights(record)}.", "", f"  {key}", "", "It is not shown again. Try it:", ""]
    lines += _signed_example(record, secret, http) if record.signed_only else [_example(key, http)]
    if is_first:
        lines += ["", "It is the first: from now on, all but public market data needs a key."]
    return lines


def _example(key: str, http: str) -> str:
    return f"  curl {http}/orders -H 'Authorization: Bearer {key}'"


def _signed_example(record: KeyRecord, secret: str, http: str) -> list[str]:
    return [
        f"  hash=$(printf %s {secret} | openssl dgst -sha256 -r | cut -d' ' -f1)",
        "  time=$(date +%s)000",
        "  signature=$(printf '%s\\nGET\\n/orders\\n' $time | openssl dgst -sha256 -hmac $hash -r | cut -d' ' -f1)",
        f"  curl {http}/orders -H 'Pricetime-Key: pt_{record.id}' "
        '-H "Pricetime-Timestamp: $time" -H "Pricetime-Signature: $signature"',
    ]


# list


def _rows(records: Sequence[KeyRecord]) -> list[str]:
    if not records:
        return ["there are no keys; make one with: pricetime keys create --accounts NAME"]
    head = ("ID", "NAME", "SCOPES", "ACCOUNTS", "RATE", "CREATED", "STATE")
    return columns(head, [_row(each) for each in sorted(records, key=lambda record: (record.created_at, record.id))])


def _row(record: KeyRecord) -> tuple[str, ...]:
    return (
        record.id,
        record.name or "-",
        ",".join(scope.value for scope in record.scopes),
        _whose(record),
        "-" if record.rate is None else f"{record.rate}/s",
        _moment(record.created_at),
        _state(record),
    )


def _state(record: KeyRecord) -> str:
    kind = "signed only" if record.signed_only else "active"
    if record.revoked_at is not None:
        return f"revoked {_moment(record.revoked_at)}"
    if record.expires_at is None:
        return kind
    return f"{kind}, until {_moment(record.expires_at)}" if record.expires_at > now() else "expired"


def _rights(record: KeyRecord) -> str:
    return f"{', '.join(scope.value for scope in record.scopes)} for {_whose(record)}"


def _whose(record: KeyRecord) -> str:
    return "all accounts" if record.accounts is None else ",".join(record.accounts)


def _moment(time: int) -> str:
    return format_time(time)[:16].replace("T", " ")


# revoke


def _revoke(arguments: argparse.Namespace) -> str:
    key_id = parse_key_id(arguments.key)
    if key_id is None:
        raise CommandError("an id is 12 hexadecimal digits; see: pricetime keys list")

    async def end(store: KeyStore) -> str:
        found = next((each for each in await store.all() if each.id == key_id), None)
        if found is None:
            raise CommandError(f"there is no key {key_id}; see: pricetime keys list")
        return await _end(store, found)

    return _with_store(arguments, end)


async def _end(store: KeyStore, found: StoredKey) -> str:
    record = found.record
    if record is None:
        raise CommandError(f"key {found.id} was deleted, or cannot be read; it gives no access")
    if record.revoked_at is not None:
        return f"Key {record.id} was revoked on {_moment(record.revoked_at)} already."
    await store.write(record.revoked(now()), after=found.sequence)
    return f"Key {record.id} is revoked: {_rights(record)}. Whoever used it is out, open WebSockets included."


# The running exchange


def _with_store(arguments: argparse.Namespace, act: Callable[[KeyStore], Awaitable[_Result]]) -> _Result:
    return asyncio.run(_act(*address(arguments), act))


async def _act(url: str, tls: NatsTls, act: Callable[[KeyStore], Awaitable[_Result]]) -> _Result:
    connection = await connected(url, tls)
    try:
        async with asyncio.timeout(_ANSWER_SECONDS):
            return await act(KeyStore(connection))
    except KeyChanged as error:
        raise CommandError(f"key {error} was changed by somebody else just now; look, and try again") from error
    except (NatsError, TimeoutError) as error:
        why = error or "no answer: perhaps this user of NATS may not write keys"
        raise CommandError(f"the keys cannot be reached at {without_password(url)}: {why}") from error
    finally:
        await connection.close()


def _http(arguments: argparse.Namespace) -> str:
    """Of the running exchange, or where it is by default."""
    is_here = run_file_path(meant_folder(arguments.data)).exists()
    return read_run_file(arguments.data).http if is_here and not arguments.nats else _HTTP
