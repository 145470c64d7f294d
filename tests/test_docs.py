"""The documents keep up with the code: nothing that users need is left undocumented, and no link leads nowhere."""

import re
from enum import Enum
from pathlib import Path

import pytest

from cli.broker_users import REQUESTS
from cli.main import COMMANDS
from contracts import subjects
from contracts.messages import (
    CLIENT_ORDER_ID_WINDOW,
    DAY,
    MAX_COMMANDS,
    MAX_DELAY,
    MAX_FILLS,
    MAX_PRICE,
    MAX_RESTING_ORDERS,
    CancelReason,
    InstrumentStatus,
    OrderType,
    RejectReason,
    SelfTradePrevention,
    TimeInForce,
)
from runtime.settings import Settings
from tests.matcher.story import read_stories

ROOT = Path(__file__).parent.parent
PACKAGES = (
    "contracts",
    "runtime",
    "entry",
    "gateway",
    "matcher",
    "recorder",
    "broadcaster",
    "cli",
    "pricetime_client",
    "demo",
    "bench",
    "chaos",
    "tests",
)
STORIES = ROOT / "tests/matcher/stories"
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
    text = "".join(page(name) for name in ("nats.md", "streams.md", "deferred.md", "access.md"))
    text = text.replace("<symbol>", "X").replace("<account>", "A").replace("<interval>", "1m")
    constants = [value for name, value in vars(subjects).items() if name.isupper() and "*" not in value]
    told = [subjects.account_orders("A"), subjects.market_candles("X", "1m")]
    told += [each("X") for each in (subjects.market_trades, subjects.market_book, subjects.market_ticker)]
    told += [subjects.market_status("X"), *(subjects.account_request("A", each) for each in REQUESTS)]
    for subject in [*constants, *told]:
        assert f"`{subject}`" in text, subject


CHOICES = (OrderType, TimeInForce, SelfTradePrevention, InstrumentStatus, CancelReason, RejectReason)


@pytest.mark.parametrize("choice", [choice for choices in CHOICES for choice in choices], ids=str)
def test_every_choice_and_every_reason_is_explained(choice: Enum) -> None:
    """With what it is: in a row or a line that says more than its name."""
    lines = [line for line in page("semantics.md").splitlines() if f"`{choice.value}`" in line]
    assert any(len(line) > len(choice.value) + 20 for line in lines)


def test_the_figures_are_those_of_the_engine() -> None:
    text = " ".join(page("semantics.md").split())
    for figure, most in (
        ("4,000 makers", MAX_FILLS),
        ("8,000,000 open orders", MAX_RESTING_ORDERS),
        ("1,000,000 ids", CLIENT_ORDER_ID_WINDOW),
        ("500 items", MAX_COMMANDS),
    ):
        assert figure in text
        assert int(figure.split()[0].replace(",", "")) == most
    assert "10^15 ticks" in text
    assert MAX_PRICE == 10**15
    assert "at most a day" in text
    assert MAX_DELAY == DAY


STORY = re.compile(r"\[(\w+): ([^]]+)\]\[(\w+)\]")


def test_every_story_that_is_named_is_told() -> None:
    told = {(story.file, story.title) for story in read_stories(STORIES)}
    for file, title, link in STORY.findall(page("semantics.md")):
        assert file == link
        assert (file, title) in told, f"{file}: {title}"


def test_every_file_of_stories_is_named() -> None:
    named = {file for file, _, _ in STORY.findall(page("semantics.md"))}
    assert named == {path.stem for path in STORIES.glob("*.txt")}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_documented(command: str) -> None:
    documents = "\n".join(each.read_text() for each in PAGES)
    assert f"pricetime {command}" in documents


LINK = re.compile(r"\]\(([^)\s]+)\)|^\[[^]]+\]: (\S+)|<img src=\"([^\"]+)\"", re.MULTILINE)


def links(document: Path) -> list[str]:
    return [inline or below or picture for inline, below, picture in LINK.findall(document.read_text())]


def targets(document: Path) -> set[Path]:
    """The files that it links; of a folder, which GitHub lists, the files in it."""
    found: set[Path] = set()
    for link in links(document):
        if not link.startswith(("http", "#")):
            target = (document.parent / link.partition("#")[0]).resolve()
            found |= set(target.iterdir()) if target.is_dir() else {target}
    return found


def anchors(document: Path) -> set[str]:
    """What GitHub names the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_link_leads_nowhere(document: Path) -> None:
    for link in links(document):
        if not link.startswith("http"):
            path, _, anchor = link.partition("#")
            target = document.parent / path if path else document
            assert target.exists(), link
            assert not anchor or anchor in anchors(target), link


def test_every_page_is_at_most_two_clicks_from_the_readme() -> None:
    first = targets(ROOT / "README.md")
    reached = first.union(*(targets(each) for each in first if each.suffix == ".md"))
    wanted = {*(ROOT / "docs").rglob("*.md"), *(ROOT / "docs").glob("*.json")}
    wanted.add(ROOT / "tests/postman/pricetime.postman_collection.json")
    assert {str(path.relative_to(ROOT)) for path in wanted - reached} == set()


@pytest.mark.parametrize(
    "page_of_it", [":8000/docs", ":8000/docs/openapi.json", ":8000/docs/errors", ":8001/asyncapi.json"]
)
def test_what_a_running_exchange_tells_of_itself_is_linked(page_of_it: str) -> None:
    documents = [ROOT / "README.md", *(each for each in targets(ROOT / "README.md") if each.suffix == ".md")]
    assert any(f"http://localhost{page_of_it}" in links(each) for each in documents)


def test_the_pages_that_the_code_names_are_there() -> None:
    for path in (each for package in PACKAGES for each in (ROOT / package).rglob("*.py")):
        text = path.read_text()
        for name in re.findall(r"(?<![\w/])docs/[\w/-]+\.(?:md|json|yaml)", text):
            assert (ROOT / name).exists(), f"{path}: {name}"
        for number in re.findall(r"docs/decisions/(\d{4})", text):
            assert list((ROOT / "docs/decisions").glob(f"{number}-*.md")), f"{path}: decision {number}"
