"""Makes the engine's limits small, so that tests meet them."""

import sys

import pytest

from tests.matcher.reference_orders import Limits


def set_limits(monkeypatch: pytest.MonkeyPatch, limits: Limits) -> None:
    for name in Limits.__dataclass_fields__:
        set_limit(monkeypatch, name, getattr(limits, name))


def set_limit(monkeypatch: pytest.MonkeyPatch, name: str, value: int) -> None:
    """In every module of the matcher that uses it."""
    modules = [module for key, module in list(sys.modules.items()) if key.startswith("matcher.")]
    users = [module for module in modules if hasattr(module, name.upper())]
    assert users, f"the matcher has no limit {name}"
    for module in users:
        monkeypatch.setattr(module, name.upper(), value)
