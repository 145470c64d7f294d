"""Which faults come when: the same for the same seed. Pure.

Faults are dealt out to rounds. A round is one exchange of one profile; its name says all that is needed to repeat it.
"""

import itertools
import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

FAULTS_OF_A_ROUND = {"plain": 45, "disk": 12, "snapshots": 20, "standby": 20, "cluster": 15}


class Described(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def profile(self) -> str: ...

    @property
    def share(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Round:
    profile: str
    seed: int
    kinds: tuple[str, ...]

    @property
    def name(self) -> str:
        """`python -m chaos --round NAME` repeats it."""
        return f"{self.profile}:{self.seed}:{','.join(self.kinds)}"

    @classmethod
    def named(cls, name: str) -> "Round":
        profile, seed, kinds = name.split(":")
        return cls(profile, int(seed), tuple(kinds.split(",")))


def counts(kinds: Iterable[Described], faults: int) -> dict[str, int]:
    """How many of each kind, by their shares; at least one of each while there are enough."""
    listed = sorted(kinds, key=lambda each: (-each.share, each.name))[:faults]
    total = sum(each.share for each in listed)
    found = {each.name: max(1, each.share * faults // total) for each in listed}
    while sum(found.values()) > faults:
        found[max(found, key=lambda name: found[name])] -= 1
    for each in itertools.islice(itertools.cycle(listed), faults - sum(found.values())):
        found[each.name] += 1
    return found


def rounds(kinds: Mapping[str, Described], faults: int, seed: int) -> list[Round]:
    """All of them, profile by profile, each with faults of every kind mixed."""
    chance = random.Random(seed)
    by_profile: dict[str, list[str]] = defaultdict(list)
    for name, number in sorted(counts(kinds.values(), faults).items()):
        by_profile[kinds[name].profile] += [name] * number
    found = []
    for profile, names in sorted(by_profile.items()):
        chance.shuffle(names)
        parts = -(-len(names) // FAULTS_OF_A_ROUND.get(profile, 20))
        for part in range(parts):
            found.append(Round(profile, chance.randrange(10**6), tuple(names[part::parts])))
    return found


def tally(rounds_made: Iterable[Round]) -> Counter[str]:
    return Counter(name for each in rounds_made for name in each.kinds)
