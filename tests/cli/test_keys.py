"""`pricetime keys` against a real NATS server: what it says, what it keeps, and what it never shows."""

import asyncio
import re
from contextlib import suppress
from pathlib import Path

import msgspec
import nats
import pytest

from cli.main import main
from cli.runfile import RunFile, write_run_file
from contracts.keys import KeyRecord, Scope, hash_secret, parse_key
from runtime.keys import KeyStore
from tests.support.servers import NatsServer, remove_stream, run_apart

pytestmark = pytest.mark.stack


@pytest.fixture
def server(module_nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch) -> NatsServer:
    """One without keys; that the commands mean it, they are told by the environment, as in a container."""

    async def empty() -> None:
        connection = await nats.connect(module_nats_server.url)
        await remove_stream(connection, "KV_KEYS")
        await connection.close()

    run_apart(empty)
    monkeypatch.setenv("PRICETIME_NATS_URL", module_nats_server.url)
    return module_nats_server


@pytest.fixture
def keys(server: NatsServer, capsys: pytest.CaptureFixture[str]) -> "Keys":
    return Keys(server, capsys)


class Keys:
    def __init__(self, server: NatsServer, capsys: pytest.CaptureFixture[str]) -> None:
        self.server = server
        self.capsys = capsys

    def run(self, *arguments: str) -> str:
        """What a command that must succeed prints."""
        self.capsys.readouterr()
        assert main(["keys", *arguments]) == 0
        return self.capsys.readouterr().out.rstrip("\n")

    def fails(self, *arguments: str) -> str:
        """The one line of a command that must not do anything."""
        self.capsys.readouterr()
        with suppress(SystemExit):  # argparse's own
            assert main(["keys", *arguments]) == 2
        line = self.capsys.readouterr().err.strip().splitlines()[-1]
        assert self.stored() == []
        return line

    def stored(self) -> list[KeyRecord]:
        async def read() -> list[KeyRecord]:
            connection = await nats.connect(self.server.url)
            try:
                return [each.record for each in await KeyStore(connection).all() if each.record is not None]
            finally:
                await connection.close()

        return run_apart(read)


def test_a_key_is_shown_once_and_kept_hashed(keys: Keys) -> None:
    said = keys.run("create", "--accounts", "anna,ben", "--name", "bot", "--rate", "50")
    [key] = set(re.findall(r"pt_[0-9a-f]{12}_[0-9a-f]{64}", said))
    assert f"  curl http://127.0.0.1:8000/orders -H 'Authorization: Bearer {key}'" in said.splitlines()
    key_id, secret = parse_key(key) or ("", "")
    [record] = keys.stored()
    assert record == KeyRecord(
        id=key_id,
        secret_hash=hash_secret(secret),
        scopes=(Scope.READ, Scope.TRADE),
        accounts=("anna", "ben"),
        created_at=record.created_at,
        name="bot",
        rate=50,
    )
    assert secret not in msgspec.json.encode(record).decode()
    assert secret not in keys.run("list")


def test_the_first_key_is_told_apart(keys: Keys) -> None:
    assert "It is the first: from now on" in keys.run("create", "--scopes", "admin")
    assert "It is the first" not in keys.run("create", "--scopes", "admin")


def test_for_scripts_only_the_key(keys: Keys) -> None:
    key = keys.run("create", "--scopes", "read", "--all-accounts", "--quiet", "--expires", "90d", "--signed-only")
    assert parse_key(key)
    [record] = keys.stored()
    assert (record.scopes, record.accounts, record.signed_only) == ((Scope.READ,), None, True)
    assert record.expires_at == record.created_at + 90 * 86_400 * 1_000_000


def test_a_key_for_signing_is_shown_with_a_signed_request(keys: Keys) -> None:
    said = keys.run("create", "--accounts", "anna", "--signed-only")
    assert "Authorization" not in said
    assert "openssl dgst -sha256 -hmac" in said
    assert "Pricetime-Signature" in said


def test_the_list_says_of_each_what_it_may_and_whether_it_still_can(keys: Keys) -> None:
    assert keys.run("list") == "there are no keys; make one with: pricetime keys create --accounts NAME"
    made = [
        keys.run("create", "--quiet", "--name", "first", "--accounts", "anna"),
        keys.run("create", "--quiet", "--scopes", "admin", "--rate", "7"),
        keys.run("create", "--quiet", "--scopes", "read", "--all-accounts", "--expires", "1h"),
        keys.run("create", "--quiet", "--accounts", "ben", "--signed-only"),
        keys.run("create", "--quiet", "--accounts", "zoe"),
    ]
    ids = [key.split("_")[1] for key in made]
    keys.run("revoke", ids[4])
    head, *rows = keys.run("list").splitlines()
    assert head.split() == ["ID", "NAME", "SCOPES", "ACCOUNTS", "RATE", "CREATED", "STATE"]
    assert [row.split()[0] for row in rows] == ids
    day = r"\d{4}-\d\d-\d\d \d\d:\d\d"
    for row, expected in zip(
        rows,
        [
            rf"first +read,trade +anna +- +{day} +active",
            rf"- +admin +all accounts +7/s +{day} +active",
            rf"- +read +all accounts +- +{day} +active, until {day}",
            rf"- +read,trade +ben +- +{day} +signed only",
            rf"- +read,trade +zoe +- +{day} +revoked {day}",
        ],
        strict=True,
    ):
        assert re.fullmatch(expected, row.partition("  ")[2].strip()), row


@pytest.mark.parametrize("form", ["{id}", "pt_{id}", "{key}"])
def test_revoking_says_whose_key_it_was_and_keeps_the_record(keys: Keys, form: str) -> None:
    key = keys.run("create", "--quiet", "--accounts", "anna")
    key_id = key.split("_")[1]
    assert keys.run("revoke", form.format(id=key_id, key=key)) == (
        f"Key {key_id} is revoked: read, trade for anna. Whoever used it is out, open WebSockets included."
    )
    [record] = keys.stored()
    assert record.revoked_at is not None
    assert "already" in keys.run("revoke", key_id)
    assert keys.stored() == [record]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("create", "give --accounts A,B"),
        ("create --scopes read", "give --accounts A,B"),
        ("create --scopes admin --accounts anna", "leave --accounts out"),
        ("create --accounts anna --all-accounts", "not allowed with"),
        ("create --scopes write --accounts anna", "'write' is no scope: give some of read, trade, admin"),
        ("create --scopes , --accounts anna", "'' is no scope"),
        ("create --accounts anna,,ben", "'' cannot be an account"),
        ("create --accounts a.b", "'a.b' cannot be an account"),
        ("create --accounts anna --rate 0", "'0' is not a number of requests"),
        ("create --accounts anna --rate 1.5", "'1.5' is not a number of requests"),
        ("create --accounts anna --expires soon", "'soon' is not a time such as 45s"),
        ("create --accounts anna --expires 0d", "'0d' is not a time"),
        ("revoke 000000000000", "there is no key 000000000000; see: pricetime keys list"),
        ("revoke anna", "an id is 12 hexadecimal digits"),
        ("", "required: ACTION"),
    ],
)
def test_what_cannot_be_done_is_one_line(keys: Keys, arguments: str, says: str) -> None:
    assert says in keys.fails(*arguments.split())


def test_a_name_of_several_lines_is_refused(keys: Keys) -> None:
    assert "one line" in keys.fails("create", "--accounts", "anna", "--name", "a\nb")


def test_without_an_exchange_it_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("PRICETIME_NATS_URL", raising=False)
    assert main(["keys", "list", "--data", str(tmp_path)]) == 2
    assert f"no exchange runs on {tmp_path}" in capsys.readouterr().err
    assert main(["keys", "list", "--nats", "nats://someone:secret@127.0.0.1:1"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("pricetime: no exchange answers at nats://127.0.0.1:1")
    assert said.count("\n") == 1
    assert "secret" not in said


def test_the_running_exchange_of_a_folder_is_found(keys: Keys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PRICETIME_NATS_URL")
    write_run_file(
        tmp_path, RunFile("http://127.0.0.1:8123", "ws://127.0.0.1:1", keys.server.url, "postgresql://", {}, True)
    )
    said = keys.run("create", "--accounts", "anna", "--data", str(tmp_path))
    assert "curl http://127.0.0.1:8123/orders" in said
    assert len(keys.stored()) == 1


def test_two_who_revoke_at_once_do_not_fail(keys: Keys) -> None:
    key_id = keys.run("create", "--quiet", "--accounts", "anna").split("_")[1]

    async def both() -> list[int]:
        return await asyncio.gather(*[asyncio.to_thread(main, ["keys", "revoke", key_id]) for _ in range(2)])

    assert set(run_apart(both)) <= {0, 2}
    [record] = keys.stored()
    assert record.revoked_at is not None
