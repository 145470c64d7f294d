from pathlib import Path

from bench.machine import describe


def test_the_machine_is_described_beside_the_figures(tmp_path: Path) -> None:
    machine = describe(tmp_path)
    assert all(machine.values())
    assert "core" in machine["processor"]
    assert machine["nats-server"].startswith("v2.")
    assert machine["Postgres"].startswith("18")
    assert "fdatasync" in machine["disk"]
    assert list(tmp_path.iterdir()) == []
