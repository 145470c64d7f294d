"""How commands that trade find the exchange and their key, and what they say when it refuses or is silent."""

import argparse
import os
from collections.abc import Callable
from contextlib import suppress
from decimal import Decimal
from pathlib import Path

import pytest

from cli.errors import CommandError
from cli.main import main
from cli.rest import print_json, refused, unanswered, where
from cli.runfile import RunFile, write_run_file
from pricetime_client import Level, NoAnswer, Problem, Refusal
from runtime.settings import Settings, load_settings

KEY = "pt_0123456789ab_" + "0" * 64
Asked = Callable[..., argparse.Namespace]


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Asked:
    """The options, where an exchange runs on the folder `.pricetime`, and one on `other`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PRICETIME_URL", raising=False)
    monkeypatch.delenv("PRICETIME_KEY", raising=False)
    for name, port in ((".pricetime", 1), ("other", 2)):
        (tmp_path / name).mkdir()
        address = f"127.0.0.1:{port}"
        write_run_file(tmp_path / name, RunFile(f"http://{address}", f"ws://{address}", "nats://h", "", {}))

    def options(**given: object) -> argparse.Namespace:
        return argparse.Namespace(**{"url": None, "data": None, "key_file": None, "signed": False} | given)

    return options


def test_the_exchange_that_runs_here_is_meant_unless_another_is_named(
    asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert where(asked())[:2] == ("http://127.0.0.1:1", "ws://127.0.0.1:1/ws")
    assert where(asked(data=Path("other"))).url == "http://127.0.0.1:2"
    monkeypatch.setenv("PRICETIME_URL", "https://exchange.example")
    assert where(asked())[:2] == ("https://exchange.example", None)
    assert where(asked(data=Path("other"))).url == "http://127.0.0.1:2"
    assert where(asked(url="http://h:1")).url == "http://h:1"


def test_an_exchange_that_was_killed_is_not_waited_for(asked: Asked) -> None:
    """Its run.json is still there; the process that holds the folder is not."""
    lock = Path("other/lock")
    lock.write_text(f"{2**22 + 1}\n")
    with pytest.raises(CommandError, match="the exchange on other was killed, and nothing runs there now; start it"):
        where(asked(data=Path("other")))
    lock.write_text(f"{os.getpid()}\n")
    assert where(asked(data=Path("other"))).url == "http://127.0.0.1:2"


def test_a_key_comes_from_a_file_or_from_the_environment(
    asked: Asked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert where(asked()).key is None
    monkeypatch.setenv("PRICETIME_KEY", "of-the-environment")
    assert where(asked()).key == "of-the-environment"
    (tmp_path / "key").write_text(f"{KEY}\n")
    assert where(asked(key_file=tmp_path / "key")).key == KEY
    with pytest.raises(CommandError, match="cannot read the key in nowhere: No such file"):
        where(asked(key_file=Path("nowhere")))


def test_services_pass_over_what_is_for_clients() -> None:
    assert load_settings({"PRICETIME_URL": "http://h", "PRICETIME_KEY": KEY}) == Settings()


def refusal(code: str, detail: str) -> Refusal:
    return Refusal(Problem(status=400, code=code, detail=detail))


def test_a_refusal_is_one_line_with_its_code() -> None:
    assert refused(refusal("off_tick", "Prices are whole multiples.")) == "Prices are whole multiples (off_tick)"


def test_who_needs_a_key_is_told_where_to_put_it() -> None:
    said = refused(refusal("unauthorized", "This needs an API key."))
    assert said.startswith("This needs an API key; here it goes into PRICETIME_KEY, or into a file")
    assert said.endswith("(unauthorized)")


def test_without_an_answer_it_is_said_how_to_go_on() -> None:
    lost = NoAnswer("no answer to POST /orders", unknown=True, client_order_id="x-1")
    assert "--client-order-id x-1: it is placed once" in unanswered(lost, "http://h")
    assert "before you do it again" in unanswered(NoAnswer("no answer", unknown=True), "http://h")
    said = unanswered(NoAnswer("the exchange does not answer", unknown=False), "http://h")
    assert said == "the exchange does not answer at http://h; `pricetime status` shows which part is away"


def test_decimals_are_printed_plain(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"nothing": Decimal("0E-8"), "levels": [Level(Decimal("1E+3"), Decimal("0.5"))]})
    assert capsys.readouterr().out == '{"nothing":"0.00000000","levels":[["1000","0.5"]]}\n'


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["orders", "--url", "exchange"], "'exchange' is no address of an exchange"),
        (["orders", "--data", "nowhere"], "no exchange runs on nowhere; start it with `pricetime up --data nowhere`"),
        (["orders", "--url", "http://h", "--data", "x"], "not allowed with argument --url"),
        (["order", "buy", "1"], "one of the arguments -p/--price --market is required"),
        (["order", "buy", "--price", "1"], "give either a QUANTITY or, with --market, --notional N"),
        (["order", "buy", "1", "X", "--notional", "1", "--market"], "give either a QUANTITY or"),
        (["order", "buy", "1", "a/b", "--market"], "'a/b' cannot be a symbol"),
        (["order", "buy", "--notional", "1", "--price", "1"], "--notional is for --market orders"),
        (["order", "buy", "1", "--price", "1", "--market"], "not allowed with argument"),
        (["order", "hold", "1", "--market"], "invalid choice: 'hold'"),
        (["order", "buy", "1e3", "--market"], "'1e3' is no price or quantity"),
        (["amend", "1"], "what is to be different?"),
        (["cancel"], "which orders?"),
        (["cancel", "1", "--all"], "which orders?"),
        (["cancel", "--all"], "whose orders? give --account A, or --every-account"),
        (["cancel", "--all", "--account", "a", "--every-account"], "whose orders?"),
        (["cancel", "1", "--side", "buy"], "choose among --all"),
        (["instruments", "delist", "X"], "say --yes if that is meant"),
        (["instruments", "close", "X"], "invalid choice: 'close'"),
        (["instruments", "define", "A B"], "cannot be a symbol"),
    ],
)
def test_what_cannot_be_meant_is_one_line_and_nothing_is_sent(
    asked: Asked, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with suppress(SystemExit):  # argparse's own
        assert main(arguments) == 2
    told = capsys.readouterr()
    assert told.out == ""
    (line,) = told.err.splitlines()
    assert said in line
