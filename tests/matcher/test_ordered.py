"""Keys in order: a short list of the highest in front of all others, and nobody must notice. And what is under them."""

from random import Random

import pytest

from matcher import ordered
from matcher.ordered import Groups, Keys


def assert_holds(keys: Keys, expected: set[int]) -> None:
    assert list(keys) == sorted(expected, reverse=True)
    assert bool(keys.near) == bool(expected), "the best is looked for there"
    assert all(key >= keys.lowest for key in keys.near)
    assert all(key < keys.lowest for key in keys.far)
    assert len(keys.near) <= 2 * ordered._NEAR


@pytest.mark.parametrize("growth", [0.7, 0.5, 0.3])
@pytest.mark.parametrize("near", [1, 3])
def test_keys_come_and_go_in_any_order(near: int, growth: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ordered, "_NEAR", near)
    random, keys, expected = Random(f"{near} {growth}"), Keys(), set[int]()
    moved = 0
    for _ in range(1500):
        if not expected or random.random() < growth:
            key = random.choice([key for key in range(-60, 60) if key not in expected] or [max(expected) + 1])
            keys.add(key)
            expected.add(key)
        else:
            key = max(expected) if random.random() < 0.5 else random.choice(sorted(expected))
            keys.remove(key)
            expected.remove(key)
        moved += bool(keys.far)
        assert_holds(keys, expected)
    assert moved > 10, "hardly anything was ever far away"


def test_after_the_last_key_everything_is_near_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ordered, "_NEAR", 1)
    keys = Keys()
    for key in (3, 2, 1):
        keys.add(key)
    for key in (1, 2, 3):
        keys.remove(key)
    keys.add(-5)
    assert_holds(keys, {-5})


def test_members_come_in_the_order_of_their_keys_and_of_their_arrival(monkeypatch: pytest.MonkeyPatch) -> None:
    """Against a list that is sorted anew each time."""
    monkeypatch.setattr(ordered, "_NEAR", 2)
    random, groups = Random(1), Groups[int, str]()
    expected: list[tuple[int, int]] = []
    for name in range(600):
        if expected and random.random() < 0.45:
            key, leaving = expected.pop(random.randrange(len(expected)))
            groups.remove(key, leaving)
        else:
            key = random.randrange(-8, 8)
            groups.add(key, name, str(name))
            expected.append((key, name))
        in_order = sorted(expected, key=lambda each: -each[0])  # stable: the first to come stays first
        assert list(groups) == [str(name) for _, name in in_order]
        assert groups.first_key == (in_order[0][0] if in_order else None)
        down_to = random.randrange(-9, 9)
        assert groups.down_to(down_to) == [str(name) for key, name in in_order if key >= down_to]


def test_who_leaves_and_comes_back_comes_last() -> None:
    groups = Groups[str, int]()
    for number, name in enumerate("abc"):
        groups.add(1, name, number)
    groups.remove(1, "a")
    groups.add(1, "a", 0)
    assert list(groups) == [1, 2, 0]
