"""The audit of dependencies: what it finds, and above all that it never takes silence for an all-clear."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tools.audit import LOCK, Report, affecting, ask_folder, locked, read_pip_audit, words

WANTED = ("httpx", "nats-py")
ADVISORY: dict[str, Any] = {
    "id": "PYSEC-2099-1",
    "aliases": ["CVE-2099-1"],
    "affected": [
        {"package": {"ecosystem": "PyPI", "name": "other"}, "versions": ["1.5"]},
        {
            "package": {"ecosystem": "PyPI", "name": "Nats.Py"},
            "ranges": [
                {"type": "GIT", "events": [{"introduced": "0"}]},
                {"type": "ECOSYSTEM", "events": [{"introduced": "1.0"}, {"fixed": "1.10"}, {"introduced": "2.0"}]},
            ],
            "versions": ["0.9.post1"],
        },
    ],
}


def pip_audit(*dependencies: dict[str, Any]) -> str:
    return json.dumps({"dependencies": dependencies, "fixes": []})


def clean(name: str) -> dict[str, Any]:
    return {"name": name, "version": "1.0", "vulns": []}


def test_what_pypi_says_of_everything_is_believed() -> None:
    report = read_pip_audit(pip_audit(clean("httpx"), clean("nats_py")), WANTED)
    assert (report.found, report.unasked, report.exit_code) == ([], [], 0)
    assert words(report, 2) == "audit: no known vulnerability in 2 packages, according to PyPI"


def test_what_it_knows_is_shown() -> None:
    known = {"id": "PYSEC-2099-1", "aliases": ["CVE-2099-1"], "fix_versions": ["2.0"], "description": "..."}
    report = read_pip_audit(pip_audit(clean("httpx"), {**clean("nats-py"), "vulns": [known]}), WANTED)
    assert report.exit_code == 1
    assert "nats-py 1.0: PYSEC-2099-1, CVE-2099-1; fixed in 2.0" in words(report, 2)


def test_what_nobody_could_be_asked_about_is_said() -> None:
    """pip-audit's own verdict on this is "No known vulnerabilities found", and exit status 0."""
    skipped = {"name": "nats-py", "skip_reason": "Dependency not found on PyPI"}
    report = read_pip_audit(pip_audit(clean("httpx"), skipped), WANTED)
    assert (report.unasked, report.exit_code) == (["nats-py"], 3)
    assert "NOT DONE for 1 of 2 packages" in words(report, 2)
    assert "Dependency not found on PyPI" in words(report, 2)


@pytest.mark.parametrize("output", ["", "Traceback ...", "{}", "[]x", pip_audit()])
def test_no_answer_is_no_all_clear(output: str) -> None:
    report = read_pip_audit(output, WANTED)
    assert (report.unasked, report.exit_code) == (list(WANTED), 3)


@pytest.mark.parametrize(
    ("version", "is_affected"),
    [
        ("0.9", False),
        ("0.9.post1", True),
        ("1.0", True),
        ("1.9.9", True),
        ("1.10", False),
        ("1.11", False),
        ("2.0", True),
        ("2.0rc1", False),
        ("30", True),
        ("no version", False),
    ],
)
def test_an_advisory_is_about_some_versions(version: str, is_affected: bool) -> None:
    assert (affecting(ADVISORY, "nats-py", version) is not None) is is_affected
    assert affecting({**ADVISORY, "withdrawn": "2099-01-01"}, "nats-py", version) is None
    assert affecting(ADVISORY, "httpx", version) is None


def test_the_last_affected_version_is_still_affected() -> None:
    events = [{"introduced": "0"}, {"last_affected": "1.5"}]
    affected = [{"package": {"name": "nats-py"}, "ranges": [{"type": "ECOSYSTEM", "events": events}]}]
    advisory = {"id": "X", "affected": affected}
    assert [each for each in ("1.4", "1.5", "1.6") if affecting(advisory, "nats-py", each)] == ["1.4", "1.5"]


def test_a_folder_answers_what_pypi_does_not(tmp_path: Path) -> None:
    lock = tmp_path / "requirements.lock"
    lock.write_text(
        "# made\nhttpx==0.28.1\nnats-py==1.5\n    # via pricetime\ncolorama==0.4 ; sys_platform == 'win32'\n"
    )
    folder = tmp_path / "clone" / "vulns" / "nats-py"
    folder.mkdir(parents=True)
    (folder / "PYSEC-2099-1.yaml").write_text(f"{json.dumps(ADVISORY)[:-1]}, \"x\":\n'y'}}\n")
    (folder / "PYSEC-2099-2.yaml").write_text("id: PYSEC-2099-2\nmodified: '2099-02-03T00:00:00Z'\n")
    report = Report(unasked=list(locked(lock.read_text())))
    assert report.unasked == ["httpx", "nats-py"]
    ask_folder(tmp_path / "clone", lock, report)
    assert report.found == ["nats-py 1.5: PYSEC-2099-1, CVE-2099-1; fixed in 1.10"]
    assert report.source.endswith("clone, whose newest advisory is of 2099-02-03")
    with pytest.raises(SystemExit, match="no clone of pypa/advisory-database"):
        ask_folder(tmp_path, lock, Report(unasked=["httpx"]))


def test_the_lock_names_a_version_for_everything() -> None:
    found = locked(LOCK.read_text())
    assert {"httpx", "litestar", "nats-py", "uvicorn", "pip-audit"} <= found.keys()
    assert all(found.values())


def test_the_command_explains_itself() -> None:
    command = [sys.executable, "-m", "tools.audit", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=LOCK.parent)
    assert "--lenient" in done.stdout
