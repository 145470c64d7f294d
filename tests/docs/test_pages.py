"""What can be seen of the pages without running them, and that their reader notices what is wrong with one."""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.command_lines import commands_of
from tests.support.pages import ROOT, RUN, Reader, Step, steps

LEARNING = [ROOT / "README.md", ROOT / "docs/tutorial.md", *sorted((ROOT / "docs/how-to").glob("*.md"))]
"""Pages of which everything is run, as far as it can be."""
NOT_RUN = 3
"""So many of their blocks may not be run."""

TESTS = {
    "README.md": "tests/test_command_lines.py",
    "docs/tutorial.md": "tests/docs/test_commands.py",
    "docs/how-to": "tests/docs/test_commands.py",
    "docs/history.md": "tests/test_command_lines.py",
    "docs/deferred.md": "tests/test_command_lines.py",
    "docs/operations.md": "tests/test_command_lines.py",
    "docs/nats.md": "tests/test_nats_docs.py",
    "docs/access.md": "tests/gateway/test_access_page.py",
    "docs/streams.md": "tests/test_command_lines.py",
    "docs/client.md": "tests/pricetime_client/test_page.py",
}
"""Which test runs the commands of a page, or of the pages in a folder."""
CHECKED_ONLY = {
    "docs/benchmarks/README.md": "benchmarks of many minutes",
    "docs/capacity.md": "a benchmark of many minutes",
    "docs/cli.md": "made from the commands, each of which has tests of its own in tests/cli",
    "docs/compose-run.md": "the log of a run; `make compose-test` writes it",
    "docs/observability.md": "tests/observe reads the same addresses with a real Prometheus",
    "docs/security.md": "takes a public name; docs/how-to/open-to-others.md does the same without one",
    "docs/simulation.md": "runs of many minutes; tests/simulation runs the same program",
}
"""Pages whose commands no test runs, and why. tests/docs/test_named_commands.py gives those of ours to their parsers,
so that their names and options are right; what they do, and any `curl` beside them, is not tried from the page."""


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def with_commands() -> list[Path]:
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return [page for page in pages if page.parent != ROOT / "docs/decisions" and _shows_commands(page)]


def _shows_commands(page: Path) -> bool:
    """In a block or a log; of what is said in the middle of a sentence only the words are checked."""
    return any(step.language in RUN for step in steps(page.read_text())) or any(
        not command.in_a_sentence for command in commands_of(page)
    )


def find_test(name: str) -> str | None:
    return next((test for begin, test in TESTS.items() if name == begin or name.startswith(f"{begin}/")), None)


@pytest.mark.parametrize("page", with_commands(), ids=name_of)
def test_the_commands_of_a_page_are_run_by_a_test_or_only_checked(page: Path) -> None:
    name = name_of(page)
    test = find_test(name)
    if test is None:
        assert name in CHECKED_ONLY, f"run the commands of {name} in a test, or say here why not"
        return
    named = (ROOT / test).read_text()
    assert page.name in named or page.parent.name in named or page.stem in named


def test_a_page_is_only_checked_if_it_has_commands_that_no_test_runs() -> None:
    not_run = {name_of(page) for page in with_commands() if find_test(name_of(page)) is None}
    assert set(CHECKED_ONLY) == not_run


@pytest.mark.parametrize("page", LEARNING, ids=name_of)
def test_a_block_can_be_run_or_says_why_not(page: Path) -> None:
    text = page.read_text()
    for step in steps(text):
        assert step.language in (*RUN, "text", "mermaid", "caddyfile", ""), f"{page.name}:{step.line}"
        if step.language == "python":
            compile(step.text, f"{page.name}:{step.line}", "exec")
        if step.language == "sh":
            subprocess.run(["bash", "-n", "-c", step.text], check=True)
        if step.mark:
            assert step.is_run or step.installs or step.why_not_run, f"{page.name}:{step.line}: {step.mark}"
    assert not re.search(r"^ +```", text, re.MULTILINE), "a block in a list is not seen"
    assert text.count("<!-- test:") == sum(bool(step.mark or step.stop or step.speaker) for step in steps(text)), (
        "a mark leads nowhere"
    )


def test_few_blocks_are_not_run() -> None:
    reasons = [step.why_not_run for page in LEARNING for step in steps(page.read_text()) if step.why_not_run]
    assert len(reasons) <= NOT_RUN, reasons


@pytest.fixture
def read(tmp_path: Path) -> Callable[[str], Reader]:
    def read_it(text: str) -> Reader:
        page = tmp_path / "page.md"
        page.write_text(text)
        reader = Reader(tmp_path / "reader", {8000: 18000, 8001: 18001, 4222: 14222}, patience=0.2)
        try:
            reader.read(page)
        finally:
            reader.leave()
        return reader

    return read_it


def test_steps_are_what_a_reader_sees() -> None:
    page = '# Page\n\n<!-- test: not run: why -->\n```sh\na\n```\n\n```text\nb\n```\n<!-- test: Ctrl-C "x y" -->\n'
    block, stop = steps(page)
    assert (block.line, block.language, block.text, block.shown) == (3, "sh", "a\n", "b\n")
    assert block.why_not_run == "why"
    assert not block.is_run
    assert stop == Step(line=11, stop="x y")


def test_variables_folders_and_files_stay(read: Callable[[str], Reader]) -> None:
    reader = read(
        "```sh\nmkdir inner\ncd inner\nname='a b'\n```\n\n"
        "```python\n# said.py\nimport os\nprint(os.environ['name'], 'on :8000')\n```\n\n"
        "```sh\npython said.py\n```\n\n```text\na b on :8000\n```\n"
    )
    assert "18000" in (reader.desk / "inner" / "said.py").read_text()


def test_what_goes_on_is_stopped_by_ctrl_c(read: Callable[[str], Reader]) -> None:
    read(
        "```python\n# wait.py\nimport time\nprint('here', flush=True)\n"
        "try:\n    time.sleep(60)\nexcept KeyboardInterrupt:\n    open('ended', 'w').close()\n```\n\n"
        '<!-- test: goes on once it says "here" -->\n```sh\npython wait.py\n```\n\n'
        '<!-- test: Ctrl-C "wait.py" -->\n\n```sh\nls ended\n```\n'
    )


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("```sh\nfalse\n```\n", "ended with 1"),
        ("```sh\nfalse | true\n```\n", "ended with 1"),
        ("```sh\necho $never_set\n```\n", "never_set"),
        ("```python\nraise SystemExit(3)\n```\n", "ended with 3"),
        ("```sh\necho one\n```\n\n```text\ntwo\n```\n", "shows"),
        ("""```sh\necho '{"code":"off_tick"}'\n```\n""", "is refused"),
        ('<!-- test: goes on -->\n```sh\nsleep 60\n```\n\n<!-- test: "sleep" says "two" -->\n', "sleep says no 'two'"),
        ('<!-- test: goes on once it says "two" -->\n```sh\necho one\n```\n', "has not said 'two'"),
    ],
)
def test_what_does_not_work_is_noticed(read: Callable[[str], Reader], text: str, why: str) -> None:
    with pytest.raises(AssertionError, match=re.escape(why)):
        read(text)
