"""`pricetime nats-users`: logins for NATS that see and trade for one account, or only read market data.

    pricetime nats-users add anna                     places orders for account anna, and sees them
    pricetime nats-users add bot-1 --account anna     likewise, under another name
    pricetime nats-users add screen --market          reads market data
    pricetime nats-users list
    pricetime nats-users remove anna
    pricetime nats-users url operator                 the address with name and password, for `nats --server`

A running exchange takes a change over at once, without a restart; a removed login is disconnected.
"""

import argparse
import asyncio
import os
import signal
from contextlib import suppress
from pathlib import Path

from nats.errors import Error as NatsError

from cli.broker_users import (
    Login,
    add_login,
    list_logins,
    prepare_broker_users,
    remove_login,
    with_login,
    write_accounts,
    write_anyone,
)
from cli.errors import CommandError
from cli.runfile import RunFile, meant_folder, read_run_file, run_file_path
from runtime.connection import dial, without_password
from runtime.settings import load_settings

_TRIES = 30
_PAUSE_SECONDS = 0.2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    add = commands.add_parser("add", help="make a login and show its password")
    add.add_argument("name", metavar="NAME", help="of the login")
    whose = add.add_mutually_exclusive_group()
    whose.add_argument("--account", metavar="A", help="the account that it acts for (default: NAME)")
    whose.add_argument("--market", action="store_true", help="it reads market data and nothing else")
    remove = commands.add_parser("remove", help="end a login; who uses it is disconnected")
    remove.add_argument("name", metavar="NAME", help="of the login")
    url = commands.add_parser("url", help="print the address of NATS with a user's name and password")
    url.add_argument("name", metavar="NAME", help="a login, or operator, admin, market")
    listing = commands.add_parser("list", help="show the logins")
    prepare = commands.add_parser("prepare", help="for containers: write what nats-server includes")
    for command in (add, remove, url, listing, prepare):
        command.add_argument(
            "--data", type=Path, default=Path(".pricetime"), metavar="DIR", help="folder of the exchange"
        )


def run(arguments: argparse.Namespace) -> int:
    data = meant_folder(arguments.data)
    folder = data / "nats-users"
    match arguments.action:
        case "add":
            _add(arguments, data, folder)
        case "remove":
            removed = remove_login(folder, arguments.name)
            print(f"{removed.name} is removed.{_taken_over(data, removed, wanted=False)}")
        case "url":
            print(with_login(_address(data), arguments.name, _password(folder, arguments.name)))
        case "prepare":
            write_accounts(folder)
            write_anyone(folder, may_trade=load_settings().nats_open)
        case _:
            print("\n".join(_rows(list_logins(folder))))
    return 0


def _add(arguments: argparse.Namespace, data: Path, folder: Path) -> None:
    added = add_login(folder, arguments.name, None if arguments.market else arguments.account or arguments.name)
    what = "reads market data" if added.account is None else f"trades for account {added.account}"
    print(f"{added.name} {what}.{_taken_over(data, added, wanted=True)}")
    print(f"  password  {added.password}")
    print(f"  try       nats --server {_address(data)} --user {added.name} --password {added.password} ", end="")
    print("sub 'market.>'" if added.account is None else f"sub accounts.{added.account}.orders")


def _rows(logins: list[Login]) -> list[str]:
    if not logins:
        return ["there are no logins; make one with: pricetime nats-users add NAME"]
    return [f"{login.name:<24} {_rights(login)}" for login in sorted(logins, key=lambda login: login.name)]


def _rights(login: Login) -> str:
    return "market data" if login.account is None else f"account {login.account}"


def _password(folder: Path, name: str) -> str:
    passwords = {login.name: login.password for login in list_logins(folder)}
    found = (prepare_broker_users(folder).passwords | passwords).get(name)
    if found is None:
        raise CommandError(f"there is no user {name}; see: pricetime nats-users list")
    return found


def _address(data: Path) -> str:
    """Of the running exchange, or where the next one will be by default."""
    return without_password(read_run_file(data).nats) if run_file_path(data).exists() else "nats://127.0.0.1:4222"


# The running nats-server


def _taken_over(data: Path, login: Login, *, wanted: bool) -> str:
    """Have a running nats-server read its users again, and see that it did. What to say of it."""
    if (pid := _broker(data)) is None:
        return " No exchange runs on it; it takes effect at the next start."
    if not asyncio.run(_reload_until(pid, read_run_file(data), login, wanted)):
        raise CommandError(
            f"it is written down, but nats-server has not taken it over; {data / 'logs' / 'nats.log'} may say why"
        )
    return ""


def _broker(data: Path) -> int | None:
    """The process of the nats-server that uses this folder; after a kill -9, the number may be another's by now."""
    if not run_file_path(data).exists():
        return None
    import psutil  # of the extra `local`, like nats-server

    pid = read_run_file(data).pids.get("nats")
    ours = str((data / "nats-users" / "nats.conf").resolve())
    with suppress(psutil.Error):
        if pid is not None and ours in psutil.Process(pid).cmdline():
            return pid
    return None


async def _reload_until(pid: int, running: RunFile, login: Login, wanted: bool) -> bool:
    """More than once: what a new account imports is there only when it was read a second time (nats-server 2.15)."""
    for _ in range(_TRIES):
        os.kill(pid, signal.SIGHUP)
        await asyncio.sleep(_PAUSE_SECONDS)
        if await _is_served(running, login) is wanted:
            return True
    return False


async def _is_served(running: RunFile, login: Login) -> bool:
    try:
        connection = await dial(
            without_password(running.nats),
            running.nats_tls,
            user=login.name,
            password=login.password,
            allow_reconnect=False,
            connect_timeout=2,
        )
    except (NatsError, OSError, TimeoutError):
        return False
    try:
        await connection.request("$JS.API.INFO", timeout=2)
        return True
    except (NatsError, TimeoutError):
        return False
    finally:
        await connection.close()
