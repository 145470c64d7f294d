"""Passwords, logins and the configuration made of them; and `pricetime nats-users` without a running exchange."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import nats
import pytest

from cli.broker_users import (
    PASSWORDS,
    add_login,
    adopt_journal,
    list_logins,
    prepare_broker_users,
    remove_login,
    write_anyone,
    write_configuration,
)
from cli.errors import CommandError
from cli.main import main
from cli.servers import nats_configuration, nats_executable, nats_plan, nats_program
from cli.stack import Stack, StackPlan
from cli.supervisor import Supervisor
from contracts.subjects import JOURNAL, JOURNAL_STREAM
from runtime.keys import Keys
from runtime.settings import Settings
from tests.support.servers import NatsServer, start_nats, temporary_folder


def test_passwords_are_made_once_and_each_is_another(tmp_path: Path) -> None:
    first = prepare_broker_users(tmp_path / "users")
    assert tuple(first.passwords) == PASSWORDS
    assert len(set(first.passwords.values())) == len(PASSWORDS)
    assert min(len(each) for each in first.passwords.values()) > 40
    assert prepare_broker_users(tmp_path / "users") == first
    assert prepare_broker_users(tmp_path / "others").passwords != first.passwords


def test_a_user_that_an_older_version_did_not_know_gets_a_password(tmp_path: Path) -> None:
    first = prepare_broker_users(tmp_path)
    path = tmp_path / "passwords.json"
    path.write_text(json.dumps({name: word for name, word in first.passwords.items() if name != "market"}))
    again = prepare_broker_users(tmp_path).passwords
    assert set(again) == set(PASSWORDS)
    assert again["matcher"] == first.passwords["matcher"]


def test_only_the_owner_can_read_any_of_it(tmp_path: Path) -> None:
    users = prepare_broker_users(tmp_path / "users")
    add_login(users.folder, "anna", "anna")
    write_configuration(users, nats_configuration())
    write_anyone(users.folder, may_trade=True)
    assert stat.S_IMODE(users.folder.stat().st_mode) == 0o700
    assert {path.name: stat.S_IMODE(path.stat().st_mode) for path in users.folder.iterdir()} == dict.fromkeys(
        ("passwords.json", "logins.json", "accounts.conf", "anyone.conf", "nats.conf", "lock"), 0o600
    )


def test_no_password_is_in_the_repository() -> None:
    for path in nats_configuration().glob("*.conf"):
        for line in path.read_text().splitlines():
            assert "password:" not in line or "password: $PRICETIME_NATS_PASSWORD_" in line, f"{path}: {line}"


@pytest.mark.parametrize("may_trade", [True, False])
def test_a_real_server_accepts_the_configuration(tmp_path: Path, may_trade: bool) -> None:
    users = prepare_broker_users(tmp_path / "a folder" / "nats-users")
    for name, account in (("anna", "anna"), ("-_-", "A-1_b"), ("123e4", None), ("EXCHANGE", "EXCHANGE")):
        add_login(users.folder, name, account)
    write_configuration(users, nats_configuration())
    write_anyone(users.folder, may_trade=may_trade)
    program = nats_program(nats_plan(tmp_path / "nats"), users)
    command = [nats_executable(), "-t", *program.command[1:]]
    done = subprocess.run(
        command, env={**os.environ, **program.environment}, check=False, capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 0, done.stderr


def test_logins_are_added_listed_and_removed(tmp_path: Path) -> None:
    anna = add_login(tmp_path, "anna", "anna")
    bot = add_login(tmp_path, "bot-1", "anna")
    screen = add_login(tmp_path, "screen", None)
    assert list_logins(tmp_path) == [anna, bot, screen]
    assert remove_login(tmp_path, "bot-1") == bot
    assert list_logins(tmp_path) == [anna, screen]
    configuration = (tmp_path / "accounts.conf").read_text()
    assert anna.password in configuration
    assert bot.password not in configuration


@pytest.mark.parametrize(
    ("name", "account", "why"),
    [
        ("matcher", "matcher", "user of the exchange itself"),
        ("anyone", None, "user of the exchange itself"),
        ("a.b", "a", "cannot be a name"),
        ("a", "b.c", "cannot be a name"),
        ('x" }', "a", "cannot be a name"),
        ("", "a", "cannot be a name"),
        ("a", "*", "cannot be a name"),
        ("a", ">", "cannot be a name"),
        ("taken", "a", "already"),
    ],
)
def test_a_login_that_cannot_be_changes_nothing(tmp_path: Path, name: str, account: str | None, why: str) -> None:
    add_login(tmp_path, "taken", "a")
    before = {path.name: path.read_text() for path in tmp_path.iterdir()}
    with pytest.raises(CommandError, match=why):
        add_login(tmp_path, name, account)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == before


def test_a_login_that_is_not_there_cannot_be_removed(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="no login anna"):
        remove_login(tmp_path, "anna")


def test_a_broken_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "passwords.json").write_text("{")
    with pytest.raises(CommandError, match=r"cannot read .*passwords\.json"):
        prepare_broker_users(tmp_path)


def test_what_is_there_already_needs_no_room_on_the_disk(tmp_path: Path) -> None:
    users = prepare_broker_users(tmp_path)
    write_configuration(users, nats_configuration())
    for name in ("passwords.json", "accounts.conf", "nats.conf"):
        (tmp_path / f"{name}.new").mkdir()  # nothing can be written by that name
    assert prepare_broker_users(tmp_path) == users
    write_configuration(users, nats_configuration())


# A supervisor that cannot write it down


def test_when_it_cannot_be_written_down_it_is_said_once_and_tried_again(tmp_path: Path) -> None:
    said: list[str] = []
    signals: list[object] = []
    users = prepare_broker_users(tmp_path / "nats-users")
    plan = SimpleNamespace(data=tmp_path, host="127.0.0.1", users=users, nats=(SimpleNamespace(part="nats", tls=None),))
    stack = Stack(cast("StackPlan", plan), said.append)
    stack._supervisor = cast("Supervisor", SimpleNamespace(signal=lambda *sent: signals.append(sent)))
    stack._configure_nats()
    needed, not_needed = cast("Keys", SimpleNamespace(required=True)), cast("Keys", SimpleNamespace(required=False))
    stack._open_nats(Settings(), not_needed)
    assert "orders.place" in (users.folder / "anyone.conf").read_text()
    assert len(signals) == 1

    (users.folder / "anyone.conf.new").mkdir()
    for _ in range(3):
        stack._open_nats(Settings(), needed)
    assert len(said) == 1
    assert "cannot be changed" in said[0]

    (users.folder / "anyone.conf.new").rmdir()
    stack._open_nats(Settings(), needed)
    assert "orders.place" not in (users.folder / "anyone.conf").read_text()
    signals.clear()
    stack._open_nats(Settings(), needed)
    assert signals == []


# The command


def nats_users(data: Path, *arguments: str) -> int:
    return main(["nats-users", *arguments, "--data", str(data)])


def test_without_a_running_exchange_it_says_when_it_takes_effect(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert nats_users(tmp_path, "add", "bot-1", "--account", "anna") == 0
    said = capsys.readouterr().out
    [login] = list_logins(tmp_path / "nats-users")
    assert "bot-1 trades for account anna. No exchange runs on it; it takes effect at the next start." in said
    assert f"--user bot-1 --password {login.password}" in said
    assert "sub accounts.anna.orders" in said


def test_list_shows_no_password(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert nats_users(tmp_path, "list") == 0
    assert "no logins" in capsys.readouterr().out
    nats_users(tmp_path, "add", "anna")
    nats_users(tmp_path, "add", "screen", "--market")
    capsys.readouterr()
    assert nats_users(tmp_path, "list") == 0
    said = capsys.readouterr().out
    assert [line.split(maxsplit=1) for line in said.splitlines()] == [
        ["anna", "account anna"],
        ["screen", "market data"],
    ]
    assert not any(login.password in said for login in list_logins(tmp_path / "nats-users"))


def test_url_is_for_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    users = prepare_broker_users(tmp_path / "nats-users")
    assert nats_users(tmp_path, "url", "operator") == 0
    assert capsys.readouterr().out == f"nats://operator:{users.passwords['operator']}@127.0.0.1:4222\n"
    assert nats_users(tmp_path, "url", "nobody") == 2
    assert "no user nobody" in capsys.readouterr().err


def test_a_run_file_left_behind_signals_nobody(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """After a kill -9 its process id may be another program's by now: SIGHUP would end it."""
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as bystander:
        run_file = {"http": "", "ws": "", "nats": "nats://127.0.0.1:1", "postgres": "", "pids": {"nats": bystander.pid}}
        (tmp_path / "run.json").write_text(json.dumps(run_file))
        assert nats_users(tmp_path, "add", "anna") == 0
        assert "at the next start" in capsys.readouterr().out
        assert bystander.poll() is None
        bystander.kill()


# Data of a version without users


@pytest.mark.stack
async def test_a_journal_from_before_there_were_users_is_adopted() -> None:
    with temporary_folder() as folder:
        before = start_nats(folder)
        connection = await nats.connect(before.url)
        await connection.jetstream().add_stream(name=JOURNAL_STREAM, subjects=[JOURNAL])
        await connection.jetstream().publish(JOURNAL, b"kept")
        await connection.close()
        before.stop()

        adopt_journal(before.plan.store)
        users = prepare_broker_users(folder / "nats-users")
        write_configuration(users, nats_configuration())
        write_anyone(users.folder, may_trade=False)
        after = NatsServer(nats_program(before.plan, users), folder / "nats.log", before.plan)
        after.start()
        connection = await nats.connect(users.url("matcher", after.url), inbox_prefix="_INBOX_matcher")
        manager = connection.jsm()
        assert (await manager.get_msg(JOURNAL_STREAM, 1)).data == b"kept"
        assert (await connection.jetstream().publish(JOURNAL, b"next")).seq == 2
        await connection.close()
        after.stop()


def test_a_journal_that_has_been_adopted_stays(tmp_path: Path) -> None:
    for account in ("$G", "EXCHANGE"):
        (tmp_path / "jetstream" / account).mkdir(parents=True)
    (tmp_path / "jetstream" / "EXCHANGE" / "journal").write_text("")
    adopt_journal(tmp_path)
    assert (tmp_path / "jetstream" / "EXCHANGE" / "journal").exists()
    assert (tmp_path / "jetstream" / "$G").exists()
