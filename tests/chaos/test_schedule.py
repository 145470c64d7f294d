from collections import Counter

import pytest

from chaos.all_kinds import KINDS
from chaos.schedule import Round, counts, rounds, tally


@pytest.mark.parametrize("faults", [len(KINDS), 200, 560, 1000])
def test_every_kind_comes_and_all_are_dealt_out(faults: int) -> None:
    dealt = tally(rounds(KINDS, faults, seed=3))
    assert sum(dealt.values()) == faults
    assert dealt.keys() == KINDS.keys()
    assert dealt == Counter(counts(KINDS.values(), faults))


def test_few_faults_are_of_the_kinds_with_the_largest_shares() -> None:
    dealt = tally(rounds(KINDS, 5, seed=3))
    assert sum(dealt.values()) == 5
    assert min(KINDS[name].share for name in dealt) >= 40


def test_a_seed_gives_one_schedule_and_another_gives_another() -> None:
    assert rounds(KINDS, 200, 1) == rounds(KINDS, 200, 1)
    assert rounds(KINDS, 200, 1) != rounds(KINDS, 200, 2)


def test_a_round_is_of_one_profile_and_its_name_repeats_it() -> None:
    for each in rounds(KINDS, 300, 7):
        assert {KINDS[name].profile for name in each.kinds} == {each.profile}
        assert Round.named(each.name) == each
