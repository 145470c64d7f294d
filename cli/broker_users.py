"""Who may use nats-server: the passwords of the services, the logins added for accounts, and its configuration.

All of it lies in one folder, DIR/nats-users, for its owner only:

    passwords.json   of the exchange's own users: the services, operator, admin, market
    logins.json      the logins that `pricetime nats-users` has added
    accounts.conf    what nats-server is told of these logins, and of market
    anyone.conf      what it is told of those who come without a password
    nats.conf        what it is started with: the files of nats/, and these two

Whoever is not of the exchange gets an account of nats-server apart: nats/accounts.conf says why.
"""

import fcntl
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec

from cli.errors import CommandError
from contracts.messages import NAME_PATTERN
from contracts.subjects import (
    BROADCASTER_DEPTH,
    BROADCASTER_MARKET,
    BROADCASTER_STATUS,
    MATCHER_INSTRUMENTS,
    MATCHER_ORDER,
    MATCHER_STATUS,
    RECORDER_STATUS,
    account_orders,
)
from runtime.files import write_whole

SERVICES = ("matcher", "recorder", "broadcaster", "gateway")
USERS = (*SERVICES, "operator", "admin", "market", "anyone")
"""market: may read market data. anyone: who comes without a password."""
PASSWORDS = (*USERS, "routes")
"""routes: what the nodes of a cluster know one another by."""

LOGIN_CONNECTIONS = 100
SHARED_CONNECTIONS = 2_000
"""How many connections one login may have; and all together who share `market`, or come without a password. Each may
have fifty times as many subscriptions. nats-server has room for more than these: the exchange's own always find one."""
MAX_PAYLOAD = 1_048_576
"""Of one message from a stranger; requests as large as over REST fit."""

REQUESTS = ("place", "cancel", "amend", "cancel_all", "batch")

_Content = TypeVar("_Content")


class Login(msgspec.Struct, frozen=True):
    """Somebody with a name and a password. `account`: whose orders it may place and see; None for market data only."""

    name: str
    password: str
    account: str | None


@dataclass(frozen=True, slots=True)
class BrokerUsers:
    """The folder, and the passwords in it."""

    folder: Path
    passwords: dict[str, str]

    @property
    def configuration(self) -> Path:
        return self.folder / "nats.conf"

    @property
    def environment(self) -> dict[str, str]:
        """What nats/accounts.conf reads its passwords from."""
        return {f"PRICETIME_NATS_PASSWORD_{name.upper()}": password for name, password in self.passwords.items()}

    def url(self, user: str, address: str) -> str:
        """The address `nats://host:port`, or several with commas between, with the user's name and password."""
        return with_login(address, user, self.passwords[user])


def with_login(address: str, user: str, password: str) -> str:
    return address.replace("://", f"://{user}:{password}@")


def prepare_broker_users(folder: Path) -> BrokerUsers:
    """Read the passwords, and make those that are missing: all of them, the first time."""
    write_accounts(folder)
    with _locked(folder):
        path = folder / "passwords.json"
        passwords = _read(path, dict[str, str])
        missing = [name for name in PASSWORDS if name not in passwords]
        if missing:
            passwords |= {name: new_password() for name in missing}
            _write(path, msgspec.json.format(msgspec.json.encode(passwords)).decode())
    return BrokerUsers(folder.resolve(), passwords)


def write_accounts(folder: Path) -> None:
    """Anew, as this version of the program has it."""
    with _locked(folder):
        _write(folder / "accounts.conf", accounts_configuration(_logins(folder)))


def write_configuration(users: BrokerUsers, shipped: Path, *, clustered: bool = False, tls: bool = False) -> None:
    """What nats-server starts with, or each of a cluster's. `shipped` is the folder of local.conf and cluster.conf.

    nats-server takes the path of an include as relative to the file that it is in, whatever it looks like.
    """
    there = os.path.relpath(shipped.resolve(), users.folder)
    secured = f"include '{there}/tls.conf'\n" if tls else ""
    includes = [f"{there}/accounts.conf", "accounts.conf", "anyone.conf"]
    _write(
        users.configuration,
        "# Written by `pricetime up` at each start.\n"
        f"include '{there}/{'cluster' if clustered else 'local'}.conf'\n{secured}"
        "accounts {\n" + "".join(f"  include '{each}'\n" for each in includes) + "}\n"
        "no_auth_user: anyone\n",
    )


def write_anyone(folder: Path, *, may_trade: bool) -> None:
    """What those may do who come without a password: trade for every account, or read market data."""
    head = "# Written anew whenever it changes whether somebody without a password may trade.\n"
    rights = _OPEN if may_trade else _MARKET
    _write(folder / "anyone.conf", head + _account("ANYONE", "anyone", "$PRICETIME_NATS_PASSWORD_ANYONE", rights))


def new_password() -> str:
    """Begins with a letter and holds no sign that a configuration, an address or a shell would take for its own."""
    return f"p{secrets.token_hex(20)}"


def adopt_journal(store: Path) -> None:
    """A journal from before there were users belongs to the account $G: give it to the account of the services."""
    before, now = store / "jetstream" / "$G", store / "jetstream" / "EXCHANGE"
    if before.is_dir() and not now.exists():
        before.rename(now)


# Logins


def list_logins(folder: Path) -> list[Login]:
    with _locked(folder):
        return _logins(folder)


def add_login(folder: Path, name: str, account: str | None) -> Login:
    for text in (name, account):
        if text is not None and not re.fullmatch(NAME_PATTERN, text):
            raise CommandError(f"{text!r} cannot be a name: 1 to 64 letters, digits, hyphens or underscores")
    if name in USERS:
        raise CommandError(
            f"{name} is a user of the exchange itself; choose another login, "
            f"for example: pricetime nats-users add {name}-login --account {name}"
        )
    with _locked(folder):
        logins = _logins(folder)
        if any(login.name == name for login in logins):
            raise CommandError(f"there is a login {name} already; remove it first: pricetime nats-users remove {name}")
        added = Login(name, new_password(), account)
        _keep(folder, [*logins, added])
    return added


def remove_login(folder: Path, name: str) -> Login:
    with _locked(folder):
        logins = _logins(folder)
        removed = next((login for login in logins if login.name == name), None)
        if removed is None:
            raise CommandError(f"there is no login {name}; see: pricetime nats-users list")
        _keep(folder, [login for login in logins if login is not removed])
    return removed


def _keep(folder: Path, logins: list[Login]) -> None:
    _write(folder / "logins.json", msgspec.json.format(msgspec.json.encode(logins)).decode())
    _write(folder / "accounts.conf", accounts_configuration(logins))


def _logins(folder: Path) -> list[Login]:
    return _read(folder / "logins.json", list[Login])


# What nats-server is told


def accounts_configuration(logins: list[Login]) -> str:
    """The accounts of nats-server for these logins: one each, so that nothing of one ever reaches another."""
    head = "# Written by `pricetime up` and `pricetime nats-users`.\n"
    market = _account("MARKET", "market", "$PRICETIME_NATS_PASSWORD_MARKET", _MARKET)
    return head + market + "".join(_of_login(login) for login in logins)


def _of_login(login: Login) -> str:
    rights = _MARKET if login.account is None else _trading(account_orders(login.account))
    return _account(f"LOGIN_{login.name}", login.name, f'"{login.password}"', rights, LOGIN_CONNECTIONS)


@dataclass(frozen=True, slots=True)
class _Rights:
    """`told` is what comes by itself, `asked` what may be asked: subjects of the account EXCHANGE."""

    told: tuple[str, ...]
    asked: tuple[str, ...]


_MARKET = _Rights(
    told=("market.>",),
    asked=(
        *(f"$SRV.{verb}{which}" for verb in ("PING", "INFO", "STATS") for which in ("", ".>")),
        "$JS.API.INFO",
        "$JS.API.STREAM.INFO.MARKET",
        "$JS.API.STREAM.MSG.GET.MARKET",
        "$JS.API.DIRECT.GET.MARKET",
        "$JS.API.DIRECT.GET.MARKET.>",
    ),
)


def _trading(orders: str, *more: str) -> _Rights:
    """For the account, or the accounts, of this subject of orders."""
    return _Rights((*_MARKET.told, orders), (*_MARKET.asked, *(f"{orders}.{each}" for each in REQUESTS), *more))


_OPEN = _trading(
    account_orders("*"),
    *(f"orders.{each}" for each in REQUESTS),
    MATCHER_STATUS,
    MATCHER_INSTRUMENTS,
    MATCHER_ORDER,
    RECORDER_STATUS,
    BROADCASTER_STATUS,
    BROADCASTER_DEPTH,
    BROADCASTER_MARKET,
)


def _account(name: str, user: str, password: str, rights: _Rights, connections: int = SHARED_CONNECTIONS) -> str:
    """One account with one user. `password` as it is written in the configuration."""
    imports = [("stream", each) for each in rights.told] + [("service", each) for each in rights.asked]
    return (
        f'"{name}" {{\n'
        f'  users: [{{ user: "{user}", password: {password}, permissions: {{\n'
        f"    publish: {_quoted(rights.asked)}\n"
        f"    subscribe: {_quoted((*rights.told, '_INBOX.>'))}\n"
        "  } }]\n"
        f"  limits {{ max_connections: {connections}, max_subscriptions: {50 * connections}, "
        f"max_payload: {MAX_PAYLOAD} }}\n"
        "  imports: [\n"
        + "".join(f'    {{ {kind}: {{ account: EXCHANGE, subject: "{subject}" }} }}\n' for kind, subject in imports)
        + "  ]\n}\n"
    )


def _quoted(subjects: tuple[str, ...]) -> str:
    return msgspec.json.encode(subjects).decode()


# Files


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One change at a time, whoever makes it."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise CommandError(f"cannot keep users in {folder}: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _read(path: Path, kind: type[_Content]) -> _Content:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except FileNotFoundError:
        return kind()
    except (OSError, msgspec.MsgspecError) as error:
        raise CommandError(f"cannot read {path}: {error}") from error


def _write(path: Path, text: str) -> None:
    """Whole or not at all, and for its owner only. What is there already is left: the disk may be full."""
    try:
        if path.exists() and path.read_text() == text:
            return
        write_whole(path, text)
    except OSError as error:
        raise CommandError(f"cannot write {path}: {error.strerror}") from error
