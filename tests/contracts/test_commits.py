"""The chain: what fits is followed, anything else is named with its sequence and leaves the position where it was."""

from dataclasses import replace as moved
from hashlib import sha256

import msgspec
import pytest
from msgspec.structs import replace

from contracts.commits import GENESIS_HASH, HASH_SIZE, VERSION, Chain, JournalBroken, decode_commit, encode_commit
from contracts.messages import CancelOrder, Commit, Outcome

TIME = 1_700_000_000_000_000


def barrier(matcher_epoch: int, sequence: int, previous_hash: bytes, time: int = TIME) -> Commit:
    return Commit(VERSION, "epoch-a", matcher_epoch, sequence, previous_hash, time, state_hash=b"state")


def journal_of(count: int) -> list[bytes]:
    """A good journal: a barrier, then commits of one command each."""
    payload, digest = encode_commit(barrier(1, 1, GENESIS_HASH))
    journal = [payload]
    for sequence in range(2, count + 1):
        commands, outcomes = (CancelOrder(sequence),), (Outcome(()),)
        commit = Commit(VERSION, "epoch-a", 1, sequence, digest, TIME + sequence, commands, outcomes)
        payload, digest = encode_commit(commit)
        journal.append(payload)
    return journal


@pytest.fixture
def chain() -> Chain:
    """At the third commit."""
    chain = Chain()
    for sequence, payload in enumerate(journal_of(3), 1):
        chain.follow(sequence, payload)
    return chain


def next_commit(chain: Chain) -> Commit:
    """One that fits."""
    commands, outcomes = (CancelOrder(1),), (Outcome(()),)
    return Commit(
        VERSION, "epoch-a", chain.matcher_epoch, chain.sequence + 1, chain.hash, chain.time, commands, outcomes
    )


def assert_refused(chain: Chain, sequence: int, payload: bytes, why: str, *, names: int = 4) -> None:
    before = moved(chain)
    with pytest.raises(JournalBroken, match=why) as caught:
        chain.follow(sequence, payload)
    assert caught.value.sequence == names
    assert str(caught.value).startswith(f"journal sequence {names}: ")
    assert chain == before


def test_golden_bytes_of_a_journal_message() -> None:
    commit = Commit(1, "epoch", 2, 3, bytes(range(4)), 1_430_438_404_518_000)
    body = bytes.fromhex("9901a565706f63680203c40400010203cf000514f9e4f970709090c0")
    digest = bytes.fromhex("fb459465b1edf94b2660ff11611394045aaf451a31d0e6f7036d3c5ee107d2f2")
    assert encode_commit(commit) == (digest + body, digest)
    assert decode_commit(3, digest + body) == (commit, digest)


def test_constants() -> None:
    assert VERSION == 2
    assert sha256().digest_size == HASH_SIZE
    assert bytes(32) == GENESIS_HASH


def test_a_good_journal_is_followed() -> None:
    chain = Chain()
    journal = journal_of(20)
    for sequence, payload in enumerate(journal, 1):
        commit = chain.follow(sequence, payload)
        assert commit.sequence == chain.sequence == sequence
        assert chain.hash == payload[:HASH_SIZE] == sha256(payload[HASH_SIZE:]).digest()
    assert chain == Chain(20, journal[-1][:HASH_SIZE], "epoch-a", 1, TIME + 20)


def test_checking_does_not_move(chain: Chain) -> None:
    before = moved(chain)
    payload, digest = encode_commit(next_commit(chain))
    assert chain.check(4, payload) == (next_commit(chain), digest)
    assert chain == before


def test_a_reader_may_start_in_the_middle() -> None:
    journal = journal_of(10)
    chain = Chain()
    for sequence, payload in enumerate(journal[:5], 1):
        chain.follow(sequence, payload)
    later = Chain(chain.sequence, chain.hash, chain.journal_epoch, chain.matcher_epoch, chain.time)
    for sequence, payload in enumerate(journal[5:], 6):
        later.follow(sequence, payload)
    assert later.sequence == 10


def test_a_barrier_raises_the_epoch_by_one(chain: Chain) -> None:
    payload, _ = encode_commit(barrier(2, 4, chain.hash, chain.time))
    assert chain.follow(4, payload).is_barrier
    assert chain.matcher_epoch == 2


def test_time_may_stand_still(chain: Chain) -> None:
    payload, _ = encode_commit(replace(next_commit(chain), time=chain.time))
    chain.follow(4, payload)


def test_a_gap(chain: Chain) -> None:
    payload, _ = encode_commit(replace(next_commit(chain), sequence=6))
    assert_refused(chain, 6, payload, "is missing; the next message there is 6")


def test_a_message_that_was_read_before(chain: Chain) -> None:
    assert_refused(chain, 3, journal_of(3)[2], "the next message there is 3")


def test_numbers_used_again(chain: Chain) -> None:
    """JetStream was seen to cut a stream and number on: another commit stands where ours is expected."""
    payload, _ = encode_commit(replace(next_commit(chain), sequence=2))
    assert_refused(chain, 4, payload, "says that it is commit 2")


def test_another_past(chain: Chain) -> None:
    payload, _ = encode_commit(replace(next_commit(chain), previous_hash=bytes(31) + b"\x01"))
    assert_refused(chain, 4, payload, "does not chain")


def test_the_first_commit_must_follow_nothing() -> None:
    payload, _ = encode_commit(barrier(1, 1, b"\x01" * 32))
    assert_refused(Chain(), 1, payload, "does not chain", names=1)


def test_the_first_commit_must_be_a_barrier() -> None:
    payload, _ = encode_commit(Commit(VERSION, "epoch-a", 1, 1, GENESIS_HASH, TIME))
    assert_refused(Chain(), 1, payload, "matcher epoch 1 after 0", names=1)


def test_every_flipped_byte(chain: Chain) -> None:
    payload, _ = encode_commit(next_commit(chain))
    for place in range(len(payload)):
        damaged = bytearray(payload)
        damaged[place] ^= 0x10
        assert_refused(chain, 4, bytes(damaged), "do not match its hash")


@pytest.mark.parametrize("length", [0, 1, 31, 32, 33, -1])
def test_cut_short(chain: Chain, length: int) -> None:
    payload, _ = encode_commit(next_commit(chain))
    assert_refused(chain, 4, payload[:length], "do not match its hash")


def test_bytes_that_are_no_commit(chain: Chain) -> None:
    for body in (b"", b"\xc0", b"\x91\x01", msgspec.msgpack.encode(next_commit(chain)) + b"\xc0"):
        assert_refused(chain, 4, sha256(body).digest() + body, "cannot be read by this version")


def test_another_format_version(chain: Chain) -> None:
    payload, _ = encode_commit(replace(next_commit(chain), version=3))
    assert_refused(chain, 4, payload, "has format version 3, this program reads 1 and 2")


def test_another_journal(chain: Chain) -> None:
    payload, _ = encode_commit(replace(next_commit(chain), journal_epoch="epoch-b"))
    assert_refused(chain, 4, payload, "belongs to journal epoch-b, the ones before it to epoch-a")


@pytest.mark.parametrize("matcher_epoch", [0, 2, 3])
def test_a_commit_of_another_matcher(chain: Chain, matcher_epoch: int) -> None:
    payload, _ = encode_commit(replace(next_commit(chain), matcher_epoch=matcher_epoch))
    assert_refused(chain, 4, payload, f"has matcher epoch {matcher_epoch} after 1")


@pytest.mark.parametrize("matcher_epoch", [0, 1, 3])
def test_a_barrier_that_jumps(chain: Chain, matcher_epoch: int) -> None:
    payload, _ = encode_commit(barrier(matcher_epoch, 4, chain.hash, chain.time))
    assert_refused(chain, 4, payload, f"has matcher epoch {matcher_epoch} after 1")


def test_time_does_not_go_back(chain: Chain) -> None:
    payload, _ = encode_commit(replace(next_commit(chain), time=chain.time - 1))
    assert_refused(chain, 4, payload, "goes back in time")


@pytest.mark.parametrize("outcomes", [(), (Outcome(()), Outcome(()))], ids=["fewer", "more"])
def test_each_command_has_one_outcome(chain: Chain, outcomes: tuple[Outcome, ...]) -> None:
    payload, _ = encode_commit(replace(next_commit(chain), outcomes=outcomes))
    assert_refused(chain, 4, payload, f"has 1 commands and {len(outcomes)} outcomes")
