"""The documents keep up with the code: nothing that users need is left undocumented, and no link leads nowhere."""

import re
from pathlib import Path

import pytest

from cli.main import COMMANDS
from contracts import subjects
from contracts.messages import CancelReason, RejectReason
from runtime.settings import Settings

ROOT = Path(__file__).parent.parent
PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")])


def page(name: str) -> str:
    return (ROOT / "docs" / name).read_text()


def test_every_setting_is_documented_with_its_default() -> None:
    for name in Settings.__struct_fields__:
        assert f"`{name}`" in page("settings.md"), name
    default_of = dict(zip(Settings.__struct_fields__, Settings.__struct_defaults__, strict=True))
    rows = [line.split("|")[1:3] for line in page("settings.md").splitlines() if line.startswith("| `")]
    documented = {
        name: default
        for names, defaults in rows
        for name, default in zip(re.findall(r"`(\w+)`", names), re.findall(r"`([^`]+)`", defaults), strict=False)
    }
    for name, default in documented.items():
        assert default == str(default_of[name]), name


def test_every_subject_is_documented() -> None:
    text = page("nats.md").replace("<symbol>", "X").replace("<interval>", "1m").replace("<account>", "anna")
    constants = {value for name, value in vars(subjects).items() if name.isupper()}
    constants -= {subjects.PUBLIC_MARKET_DATA, subjects.ACCOUNT_ORDERS}  # patterns of those below
    made = {
        subjects.market_trades("X"),
        subjects.market_book("X"),
        subjects.market_ticker("X"),
        subjects.market_candles("X", "1m"),
        subjects.market_status("X"),
        subjects.account_orders("anna"),
        *(subjects.account_request("anna", each) for each in ("place", "amend", "cancel", "cancel_all", "batch")),
    }
    assert {subject for subject in constants | made if f"`{subject}`" not in text} == set()


@pytest.mark.parametrize("reason", list(CancelReason))
def test_every_reason_to_cancel_is_explained(reason: CancelReason) -> None:
    assert reason is CancelReason.REQUESTED or f"`{reason.value}`" in page("semantics.md")


def test_every_reason_to_refuse_has_its_place_on_the_errors_page() -> None:
    from entry.problems import CODES

    assert {reason.value for reason in RejectReason} <= CODES.keys()


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_documented(command: str) -> None:
    documents = "\n".join(each.read_text() for each in PAGES)
    assert f"pricetime {command}" in documents


@pytest.mark.parametrize("document", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_link_leads_nowhere(document: Path) -> None:
    for target in re.findall(r"\]\((?!https?://)([^)#]+)", document.read_text()):
        assert (document.parent / target).exists(), target
