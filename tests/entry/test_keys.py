"""Keys and rates as problems."""

import pytest

from contracts.keys import OPEN, PUBLIC, Access, KeyRefusal, Scope, TokenBucket
from entry.keys import _MAX_ADDRESSES, RateLimits, no_access, take
from entry.problems import Declined

NOW = 1_000_000_000


def of_key(key_id: str, rate: int | None = None) -> Access:
    return Access(frozenset({Scope.READ}), ("anna",), key_id, rate)


@pytest.mark.parametrize("refusal", list(KeyRefusal))
def test_each_reason_is_a_401_that_says_what_to_do(refusal: KeyRefusal) -> None:
    problem = no_access(refusal).problem
    assert problem.http_status == 401
    assert len(problem.detail) > 30
    assert problem.code in {"unauthorized", refusal.value}


def test_what_was_taken_too_fast_says_when_to_come_again() -> None:
    bucket = TokenBucket(2, NOW)
    take(bucket, 2, lambda: NOW)
    with pytest.raises(Declined) as caught:
        take(bucket, 1, lambda: NOW)
    assert (caught.value.problem.code, caught.value.problem.http_status) == ("rate_limited", 429)
    assert "2 requests a second" in caught.value.problem.detail
    take(bucket, 1, lambda: NOW + 500_000)


def test_who_shares_a_bucket() -> None:
    limits = RateLimits(5)
    assert limits.bucket(of_key("a"), "1.1.1.1") is limits.bucket(of_key("a"), "2.2.2.2")
    assert limits.bucket(of_key("a"), "1.1.1.1") is not limits.bucket(of_key("b"), "1.1.1.1")
    assert limits.bucket(PUBLIC, "1.1.1.1") is limits.bucket(OPEN, "1.1.1.1")
    assert limits.bucket(PUBLIC, "1.1.1.1") is not limits.bucket(PUBLIC, "2.2.2.2")


def test_whose_rate_counts() -> None:
    def rate(limits: RateLimits, access: Access) -> int:
        bucket = limits.bucket(access, "1.1.1.1")
        return bucket.rate if bucket else 0

    assert [rate(RateLimits(5), access) for access in (of_key("a"), of_key("b", 7), PUBLIC)] == [5, 7, 5]
    assert [rate(RateLimits(0), access) for access in (of_key("a"), of_key("b", 7), PUBLIC)] == [0, 7, 0]


def test_addresses_are_forgotten_before_they_are_too_many() -> None:
    limits = RateLimits(1)
    first = limits.bucket(PUBLIC, "first")
    for number in range(_MAX_ADDRESSES + 100):
        limits.bucket(PUBLIC, str(number))
        assert limits.bucket(PUBLIC, "first") is first  # seen all the time
    assert len(limits._of_addresses) == _MAX_ADDRESSES
