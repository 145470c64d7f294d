"""Who may use nats-server: the passwords of the services, the logins added for accounts, and its configuration.

All of it lies in one folder, DIR/nats-users, for its owner only:

    passwords.json   of the users that nats/accounts.conf names: the services, operator, admin, market
    logins.json      the logins that `pricetime nats-users` has added
    accounts.conf    what nats-server is told of these logins
    nats.conf        what nats-server is started with: the files of nats/, and accounts.conf
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
from contracts.subjects import account_orders

SERVICES = ("matcher", "recorder", "broadcaster", "gateway")
OPEN = "open"
"""Whoever comes without a password while nothing asks for keys."""
MARKET = "market"
"""May read market data. Where keys are needed, also whoever comes without a password."""
USERS = (*SERVICES, "operator", "admin", MARKET, OPEN)

_REQUESTS = ("place", "cancel", "amend", "cancel_all", "batch")
_PROBES = tuple(f"$SRV.{verb}{which}" for verb in ("PING", "INFO", "STATS") for which in ("", ".>"))
_HISTORY = (
    "$JS.API.INFO",
    "$JS.API.STREAM.INFO.MARKET",
    "$JS.API.STREAM.MSG.GET.MARKET",
    "$JS.API.DIRECT.GET.MARKET",
    "$JS.API.DIRECT.GET.MARKET.>",
)

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
        """The address `nats://host:port` with the user's name and password."""
        return with_login(address, user, self.passwords[user])


def with_login(address: str, user: str, password: str) -> str:
    return address.replace("://", f"://{user}:{password}@", 1)


def prepare_broker_users(folder: Path) -> BrokerUsers:
    """Read the passwords, and make those that are missing: all of them, the first time."""
    with _locked(folder):
        path = folder / "passwords.json"
        passwords = _read(path, dict[str, str])
        missing = [name for name in USERS if name not in passwords]
        if missing:
            passwords |= {name: new_password() for name in missing}
            _write(path, msgspec.json.format(msgspec.json.encode(passwords)).decode())
        _write(folder / "accounts.conf", accounts_configuration(_logins(folder)))
    return BrokerUsers(folder.resolve(), passwords)


def write_configuration(users: BrokerUsers, shipped: Path, *, is_open: bool) -> None:
    """What nats-server starts with, and reads again when it is told to. `shipped` is the folder of local.conf.

    nats-server takes the path of an include as relative to the file that it is in, whatever it looks like.
    """
    there = os.path.relpath(shipped.resolve(), users.folder)
    _write(
        users.configuration,
        "# Written by `pricetime up` at each start.\n"
        f"include '{there}/local.conf'\n"
        "accounts {\n"
        f"  include '{there}/accounts.conf'\n"
        "  include 'accounts.conf'\n"
        "}\n"
        f"no_auth_user: {OPEN if is_open else MARKET}\n",
    )


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


def accounts_configuration(logins: list[Login]) -> str:
    """The accounts of nats-server for these logins: one each, so that nothing of one ever reaches another."""
    head = "# Written by `pricetime nats-users`. Each login has an account of its own: see accounts.conf in nats/.\n"
    return head + "".join(_account(login) for login in logins)


def _account(login: Login) -> str:
    publish = [*_PROBES, *_HISTORY]
    subscribe = ["market.>", "_INBOX.>"]
    streams, services = ["market.>"], ["$SRV.>", *_HISTORY]
    if login.account is not None:
        orders = account_orders(login.account)
        publish += [f"{orders}.{request}" for request in _REQUESTS]
        subscribe.append(orders)
        streams.append(orders)
        services += [f"{orders}.{request}" for request in _REQUESTS]
    imports = [_import("stream", subject) for subject in streams] + [_import("service", each) for each in services]
    return (
        f'"LOGIN_{login.name}" {{\n'
        f'  users: [{{ user: "{login.name}", password: "{login.password}", permissions: {{\n'
        f"    publish: {_quoted(publish)}\n"
        f"    subscribe: {_quoted(subscribe)}\n"
        "  } }]\n"
        "  imports: [\n" + "".join(imports) + "  ]\n}\n"
    )


def _import(kind: str, subject: str) -> str:
    return f'    {{ {kind}: {{ account: EXCHANGE, subject: "{subject}" }} }}\n'


def _quoted(subjects: list[str]) -> str:
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
    """Whole or not at all, and for its owner only."""
    fresh = path.with_name(f"{path.name}.new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    fresh.replace(path)
