"""Without a browser it is said what to do."""

from pathlib import Path

import pytest

from tools.browser import NoBrowser, executable


def test_a_machine_without_chromium_is_told_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CHROMIUM", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NoBrowser, match="apt-get install chromium"):
        executable()


def test_the_program_can_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHROMIUM", "/opt/chromium/chrome")
    assert executable() == "/opt/chromium/chrome"
