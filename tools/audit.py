"""Has any of our dependencies a known vulnerability? `make audit`, and a part of `make check`.

    python -m tools.audit                       asks PyPI, for every version in requirements.lock, with pip-audit
    python -m tools.audit --advisories FOLDER   for what PyPI does not answer: a clone of pypa/advisory-database
    python -m tools.audit --lenient             exits 0 as well when something could not be audited

Exits 0 if nothing is known, 1 if something is, 3 if not everything could be asked about. pip-audit itself says "no
known vulnerabilities" when it was told nothing at all, behind a mirror without PyPI's data, say. Here that is said.
"""

import argparse
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

ROOT = Path(__file__).parent.parent
LOCK = ROOT / "requirements.lock"
FOUND, NOT_ASKED = 1, 3

_PIP_AUDIT = ("-m", "pip_audit", "--no-deps", "--disable-pip", "--format", "json", "--progress-spinner", "off")
_SECONDS = 10


@dataclass(slots=True)
class Report:
    """`found`: a line for each. `unasked`: the packages that nothing could be learned about, and `why`."""

    found: list[str] = field(default_factory=list)
    unasked: list[str] = field(default_factory=list)
    why: str = ""
    source: str = "PyPI"

    @property
    def exit_code(self) -> int:
        return FOUND if self.found else NOT_ASKED if self.unasked else 0


def locked(text: str) -> dict[str, str]:
    """Name and version of each requirement that is for this machine."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        if line and not line.startswith(("#", " ")):
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate():
                (specifier,) = requirement.specifier
                found[canonicalize_name(requirement.name)] = specifier.version
    return found


def read_pip_audit(output: str, wanted: Iterable[str]) -> Report:
    """What pip-audit has found. Whatever it does not speak of, it has not asked about."""
    report, answered = Report(), set()
    for each in _dependencies(output):
        if "skip_reason" in each:
            report.why = str(each["skip_reason"])
            continue
        answered.add(canonicalize_name(each["name"]))
        report.found += [
            _line(each["name"], each["version"], found["id"], found["aliases"], found["fix_versions"])
            for found in each["vulns"]
        ]
    report.unasked = [name for name in wanted if name not in answered]
    return report


def _dependencies(output: str) -> list[dict[str, Any]]:
    try:
        found: list[dict[str, Any]] = json.loads(output)["dependencies"]
    except (ValueError, KeyError):
        return []
    return found


def affecting(advisory: Mapping[str, Any], name: str, version: str) -> str | None:
    """The line for an advisory in OSV's format if it is about this version of this package."""
    if advisory.get("withdrawn"):
        return None
    for affected in advisory.get("affected", ()):
        if canonicalize_name(affected["package"]["name"]) != name:
            continue
        fixed = [event["fixed"] for event in _events(affected) if "fixed" in event]
        if version in affected.get("versions", ()) or _in_range(affected, version):
            return _line(name, version, advisory["id"], advisory.get("aliases", ()), fixed)
    return None


def _in_range(affected: Mapping[str, Any], version: str) -> bool:
    """By the last event at or before the version: introduced, or fixed."""
    try:
        ours, is_in = Version(version), False
        events = [(Version(text), kind) for event in _events(affected) for kind, text in event.items()]
    except InvalidVersion:
        return False
    for at, kind in sorted(events):
        if at < ours or (at == ours and kind in ("introduced", "fixed")):
            is_in = kind == "introduced"
    return is_in


def _events(affected: Mapping[str, Any]) -> Iterator[dict[str, str]]:
    for each in affected.get("ranges", ()):
        if each["type"] == "ECOSYSTEM":
            yield from each["events"]


def _line(name: str, version: str, identifier: str, aliases: Iterable[str], fixed: Iterable[str]) -> str:
    others = "".join(f", {each}" for each in aliases)
    return f"{name} {version}: {identifier}{others}; fixed in {', '.join(fixed) or 'no version yet'}"


def ask_pypi(lock: Path) -> Report:
    wanted = locked(lock.read_text())
    command = [sys.executable, *_PIP_AUDIT, "--timeout", str(_SECONDS), "--requirement", str(lock)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    report = read_pip_audit(done.stdout, wanted)
    if not report.why and report.unasked:
        report.why = next(
            (line for line in reversed(done.stderr.splitlines()) if line.strip()), "pip-audit says nothing"
        )
    return report


def ask_folder(advisories: Path, lock: Path, report: Report) -> None:
    """Look up what is still unasked in a clone of pypa/advisory-database."""
    folder, versions = advisories / "vulns", locked(lock.read_text())
    if not folder.is_dir():
        raise SystemExit(f"audit: {advisories} is no clone of pypa/advisory-database: it has no folder vulns")
    for name in report.unasked:
        for file in sorted((folder / name).glob("*.yaml")):
            line = affecting(yaml.safe_load(file.read_text()), name, versions[name])
            report.found += [line] if line else []
    report.unasked, report.source = [], f"{advisories}, whose newest advisory is of {_newest(folder)}"


def _newest(folder: Path) -> str:
    """The day: an old clone knows nothing of what was found since."""
    days = (re.search(r"^modified: \W?(\d{4}-\d\d-\d\d)", file.read_text(), re.M) for file in folder.rglob("*.yaml"))
    return max((day[1] for day in days if day), default="no day")


def words(report: Report, count: int) -> str:
    if report.found:
        return "audit: VULNERABLE\n" + "\n".join(f"  {each}" for each in report.found)
    if report.unasked:
        return (
            f"audit: NOT DONE for {len(report.unasked)} of {count} packages, nobody could be asked about them: "
            f"{report.why}\n  With PyPI's JSON interface in reach this works by itself; otherwise give a clone of "
            "https://github.com/pypa/advisory-database with --advisories FOLDER"
        )
    return f"audit: no known vulnerability in {count} packages, according to {report.source}"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.audit", description="known vulnerabilities of dependencies")
    parser.add_argument("--advisories", type=Path, default=os.environ.get("PRICETIME_ADVISORIES"), metavar="FOLDER")
    parser.add_argument("--lenient", action="store_true", help="exit 0 also when something could not be audited")
    arguments = parser.parse_args()
    report = ask_pypi(LOCK)
    if report.unasked and arguments.advisories is not None:
        ask_folder(Path(arguments.advisories), LOCK, report)
    print(words(report, len(locked(LOCK.read_text()))))
    return 0 if arguments.lenient and report.exit_code == NOT_ASKED else report.exit_code


if __name__ == "__main__":
    sys.exit(main())
