"""Every row of what can go wrong has kinds of faults, and every control names kinds that exist."""

import random
import re

import msgspec
import pytest

from chaos.all_kinds import KINDS
from chaos.controls import CONTROLS, unsynced
from chaos.hostile import json_garbage, msgpack_garbage
from chaos.launch import ROOT
from chaos.machine import allows
from chaos.report import CONTROLS as CONTROLS_PLACE
from chaos.report import TABLE, put_between_markers
from chaos.schedule import FAULTS_OF_A_ROUND
from contracts.messages import ClientCommand
from entry.batches import BATCH_FIELDS
from entry.bodies import read_fields
from entry.commands import AMEND_FIELDS, CANCEL_ALL_FIELDS, PLACE_FIELDS
from entry.problems import Declined

ROWS = {
    "any process killed",
    "killed at a named point",
    "paused and resumed",
    "power cut",
    "NATS or Postgres put back to an older copy",
    "fsync error, slow fsync",
    "disk full, read-only",
    "bit flip, truncation",
    "PubAck lost, late, doubled",
    "connections cut, half-open, slow",
    "Postgres killed in COMMIT, restarted, stalled",
    "two recorders",
    "two matchers, one of them paused",
    "clocks jumping back and forth",
    "CPU starvation, out of memory",
    "the leading matcher killed, paused, cut off; hand-over, rolling restart",
    "one node of three lost, two lost, partitioned, the leader isolated",
    "garbage and hostile messages",
    "a client that never reads; subscriber overflow",
}


def test_every_row_has_faults() -> None:
    assert {each.row for each in KINDS.values()} == ROWS


def test_every_kind_has_a_profile_and_needs_that_can_be_tried() -> None:
    for each in KINDS.values():
        assert each.profile in FAULTS_OF_A_ROUND, each.name
        assert each.share > 0
        assert all(isinstance(allows(need), bool) for need in each.needs)


def test_every_control_is_a_round_that_can_be_played() -> None:
    for control in CONTROLS.values():
        assert {KINDS[name].profile for name in control.kinds} == {control.profile}


def test_the_control_without_syncing_changes_that_alone() -> None:
    text = unsynced(ROOT / "nats" / "local.conf")
    assert "store_dir" in text
    assert "sync_interval" not in re.sub(r"#.*", "", text)
    assert not re.search(r"^\s*include", text, re.MULTILINE)


@pytest.mark.parametrize("known", [PLACE_FIELDS, AMEND_FIELDS, CANCEL_ALL_FIELDS, BATCH_FIELDS, ("order_id",)])
def test_json_garbage_is_never_a_valid_body(known: tuple[str, ...]) -> None:
    chance = random.Random(1)
    for _ in range(300):
        garbage = json_garbage(chance)
        try:
            fields = read_fields(garbage, known)
        except Declined:
            continue
        pytest.fail(f"{garbage[:100]!r} was read as {fields}")


def test_msgpack_garbage_is_never_a_tuple_of_commands() -> None:
    decoder = msgspec.msgpack.Decoder(tuple[ClientCommand, ...])
    chance = random.Random(2)
    for _ in range(300):
        with pytest.raises((msgspec.MsgspecError, RecursionError, UnicodeDecodeError)):
            decoder.decode(msgpack_garbage(chance))


def test_the_page_has_places_for_the_tables() -> None:
    page = (ROOT / "docs" / "reliability.md").read_text()
    for place in (TABLE, CONTROLS_PLACE):
        assert "what is new" in put_between_markers(page, place, "what is new")
