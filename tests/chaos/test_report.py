import pytest

from chaos.report import controls_table, put_between_markers, summary, table
from chaos.results import Injected, RoundResult

RESULTS = (
    RoundResult(
        seed=1,
        profile="plain",
        injected=(
            Injected("kill-nats", "", 0.0, 0.5, 0.6),
            Injected("kill-gateway", "", 1.0, 1.5, 1.6),
            Injected("ack-lost", "", 2.0, 2.0, 2.25),
        ),
        operations=1500,
        acknowledged=1000,
        seconds=90.0,
    ),
    RoundResult(
        seed=2,
        profile="plain",
        injected=(Injected("kill-nats", "", 0.0, 3.5, 3.5),),
        violations=("once: lost",),
        operations=500,
        acknowledged=400,
        seconds=30.0,
    ),
)
ROWS = {"kill-nats": "killed", "kill-gateway": "killed", "ack-lost": "acks", "power-cut": "power"}


def test_a_row_counts_its_faults_and_the_violations_of_their_rounds() -> None:
    lines = table(RESULTS, ROWS).splitlines()
    assert lines[2:] == [
        "| killed | 3 | 1 | 1.50 s | 3.50 s | 1.60 s | 3.50 s |",
        "| acks | 1 | 0 | 2.00 s | 2.00 s | 2.25 s | 2.25 s |",
    ]


def test_the_summary_adds_up() -> None:
    assert summary(RESULTS, 9) == (
        "4 faults in 2 rounds (2 minutes), seed 9: 1 violations. 2,000 commands were sent, 1,400 acknowledged."
    )


def test_only_what_is_between_the_markers_is_replaced() -> None:
    page = "before\n<!-- chaos -->\nold\n<!-- /chaos -->\nafter\n"
    assert put_between_markers(page, "chaos", "new") == "before\n<!-- chaos -->\nnew\n<!-- /chaos -->\nafter\n"
    with pytest.raises(ValueError, match="no one place"):
        put_between_markers(page, "controls", "new")


def test_a_control_shows_what_was_found() -> None:
    table = controls_table([("no-fence", "the fence", 3, "journal: a | b\nc")])
    assert table.splitlines()[2] == "| no-fence | the fence | 3 | journal: a / b c |"
