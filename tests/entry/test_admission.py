import pytest

from entry.admission import BYTES_OF_ONE, MAX_RETRY_AFTER_SECONDS, Admission, Kind, overloaded, weight_of


def filled(room: int) -> Admission:
    admission = Admission(room)
    for _ in range(room):
        assert admission.enter(Kind.ORDER)
    return admission


def test_as_many_as_there_is_room_for() -> None:
    admission = filled(3)
    assert not admission.has_room(Kind.ORDER)
    assert not admission.enter(Kind.ORDER)
    admission.leave(Kind.ORDER)
    assert admission.has_room(Kind.ORDER)
    assert admission.enter(Kind.ORDER)
    assert not admission.enter(Kind.ORDER)


def test_cancelations_have_a_quarter_more() -> None:
    admission = filled(8)
    assert [admission.enter(Kind.CANCEL) for _ in range(3)] == [True, True, False]
    admission.leave(Kind.CANCEL)
    assert not admission.enter(Kind.ORDER)
    admission.leave(Kind.CANCEL)
    admission.leave(Kind.ORDER)
    assert admission.enter(Kind.ORDER)


@pytest.mark.parametrize("kind", [Kind.READ, Kind.DEFERRED])
def test_what_waits_for_something_else_takes_no_room_from_orders(kind: Kind) -> None:
    admission = Admission(2)
    assert [admission.enter(kind) for _ in range(3)] == [True, True, False]
    assert admission.enter(Kind.ORDER)
    assert admission.at_work(Kind.ORDER) == 1
    assert admission.at_work(kind) == 2


def test_a_large_request_counts_as_several_and_one_of_them_always_fits() -> None:
    assert [weight_of(size) for size in (0, 1, BYTES_OF_ONE - 1, BYTES_OF_ONE, 10 * BYTES_OF_ONE)] == [1, 1, 1, 2, 11]
    admission = Admission(5)
    assert admission.enter(Kind.ORDER, 11)
    assert not admission.enter(Kind.ORDER)
    admission.leave(Kind.ORDER, 11)
    assert admission.at_work(Kind.ORDER) == 0


def test_who_is_refused_now_and_then_comes_again_after_a_second() -> None:
    admission = filled(1)
    for now in range(10, 20):
        assert not admission.enter(Kind.ORDER)
        assert admission.retry_after(now) == 1


def test_who_is_refused_with_many_others_comes_again_in_turns() -> None:
    """Four times as many are refused as carried out: they come back over four seconds."""
    admission = filled(1)
    admission.retry_after(100.0)
    for _ in range(40):
        admission.enter(Kind.ORDER)
    for _ in range(10):
        admission.leave(Kind.ORDER)
        admission.enter(Kind.ORDER)
    told = [admission.retry_after(101.0 + number / 100) for number in range(8)]
    assert sorted(told) == [1, 1, 2, 2, 3, 3, 4, 4]
    assert [admission.retry_after(102.0) for _ in range(3)] == [1, 1, 1], "that second is over"


def test_when_nothing_is_carried_out_nobody_is_sent_away_for_long() -> None:
    admission = filled(1)
    admission.retry_after(100.0)
    for _ in range(1_000):
        admission.refuse(Kind.ORDER)
    told = {admission.retry_after(101.5) for _ in range(100)}
    assert told == set(range(1, MAX_RETRY_AFTER_SECONDS + 1))


def test_the_problem_says_when_to_come_again() -> None:
    problem = overloaded(3).problem
    assert (problem.http_status, problem.retry_after) == (503, 3)
    assert b'"retry_after":3' in problem.content
