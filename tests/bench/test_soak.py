"""A soak of a second: the whole stack, all three ways, every order found, and verified."""

from pathlib import Path

import pytest

from bench.soak import Scale, soak

pytestmark = pytest.mark.stack


async def test_a_short_soak_loses_nothing(tmp_path: Path) -> None:
    scale = Scale(seconds=1.0, capacity_seconds=0.4, warm_up_seconds=0.2, share=0.3)
    found = await soak(scale, tmp_path, lambda what: None)
    assert found.wrong == []
    assert [each.name for each in found.sent] == ["REST", "NATS", "WebSocket"]
    assert all(each.accepted > 0 for each in found.sent)
    assert sum(each.unanswered for each in found.sent) == 0
    assert {each.group for each in found.series} == {"memory", "lag", "latency"}
    memory = {each.name for each in found.series if each.group == "memory"}
    assert memory == {"nats", "postgres", "matcher", "recorder", "broadcaster", "gateway"}
    assert "identical" in found.checked[-1]
