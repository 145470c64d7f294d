"""What a key gives access to, until when, and what counts as a signature."""

import hashlib
import hmac

import msgspec
import pytest

from contracts.keys import (
    OPEN,
    PUBLIC,
    Access,
    KeyRecord,
    KeyRefusal,
    Scope,
    SeenSignatures,
    SignedRequest,
    TokenBucket,
    format_key,
    hash_secret,
    judge_key,
    judge_signed,
    parse_key,
    parse_key_id,
    sign,
)

SECOND = 1_000_000
NOW = 1_700_000_000 * SECOND
WINDOW = 5 * SECOND
ID, SECRET = "0123456789ab", "c0ffee42" * 8
RECORD = KeyRecord(
    id=ID, secret_hash=hash_secret(SECRET), scopes=(Scope.TRADE,), accounts=("anna", "ben"), created_at=NOW, rate=7
)
REQUEST = SignedRequest("1700000000000", "POST", b"/orders?x=1", b'{"side": "buy"}')


def changed(**fields: object) -> KeyRecord:
    return msgspec.structs.replace(RECORD, **fields)


# Access


@pytest.mark.parametrize(
    ("scopes", "reads", "trades", "administers"),
    [
        ({Scope.READ}, True, False, False),
        ({Scope.TRADE}, True, True, False),
        ({Scope.READ, Scope.TRADE}, True, True, False),
        ({Scope.ADMIN}, True, True, True),
        (set(), False, False, False),
    ],
)
def test_each_scope_includes_the_ones_below(scopes: set[Scope], reads: bool, trades: bool, administers: bool) -> None:
    access = Access(frozenset(scopes), ("anna",))
    assert [access.includes(scope) for scope in Scope] == [reads, trades, administers]
    assert (access.may_read("anna"), access.may_trade("anna")) == (reads, trades)


def test_a_key_is_for_its_accounts_and_an_admin_for_all() -> None:
    trader = Access(frozenset({Scope.TRADE}), ("anna",))
    assert not trader.may_read("ben")
    assert not trader.may_trade("ben")
    admin = Access(frozenset({Scope.ADMIN}), ("anna",))
    assert admin.visible_accounts is None
    assert admin.may_trade("ben")
    auditor = Access(frozenset({Scope.READ}), None)
    assert auditor.may_read("ben")
    assert not auditor.may_trade("ben")


def test_open_is_everything_and_public_nothing_of_anybody() -> None:
    assert OPEN.is_admin
    assert OPEN.may_trade("anybody")
    assert not PUBLIC.may_read("default")
    assert not any(PUBLIC.includes(scope) for scope in Scope)


# Keys


def test_a_key_is_read_as_it_was_written() -> None:
    assert parse_key(format_key(ID, SECRET)) == (ID, SECRET)


@pytest.mark.parametrize(
    "text",
    ["", "pt_", f"pt_{ID}", f"{ID}_{SECRET}", f"pt_{ID}_{SECRET}0", f"PT_{ID}_{SECRET}", f"pt_{ID}_{SECRET}\n",
     f"pt_{ID}_{SECRET[:-1]}G", f"pt_{ID}{SECRET}", f" pt_{ID}_{SECRET}"],
)  # fmt: skip
def test_anything_else_is_no_key(text: str) -> None:
    assert parse_key(text) is None


def test_an_id_is_found_in_whatever_people_copy() -> None:
    assert {parse_key_id(text) for text in (ID, f"pt_{ID}", format_key(ID, SECRET))} == {ID}
    assert {parse_key_id(text) for text in ("", "anna", ID[:-1], f"{ID}_", f"pt_{ID}_")} == {None}


def test_the_record_holds_the_hash_and_not_the_secret() -> None:
    stored = msgspec.json.encode(RECORD)
    assert SECRET.encode() not in stored
    assert hashlib.sha256(SECRET.encode()).hexdigest().encode() in stored
    assert msgspec.json.decode(stored, type=KeyRecord) == RECORD


def test_a_good_key_gives_what_its_record_says() -> None:
    assert judge_key(RECORD, SECRET, NOW) == Access(frozenset({Scope.TRADE}), ("anna", "ben"), ID, 7)


def test_why_a_key_gives_nothing() -> None:
    wrong = SECRET[::-1]
    assert judge_key(None, SECRET, NOW) is KeyRefusal.UNKNOWN
    assert judge_key(RECORD, wrong, NOW) is KeyRefusal.UNKNOWN
    assert judge_key(RECORD.revoked(NOW), SECRET, NOW) is KeyRefusal.REVOKED
    assert judge_key(changed(expires_at=NOW), SECRET, NOW) is KeyRefusal.EXPIRED
    assert isinstance(judge_key(changed(expires_at=NOW + 1), SECRET, NOW), Access)
    assert judge_key(changed(signed_only=True), SECRET, NOW) is KeyRefusal.SIGNED_ONLY
    # Whoever does not have the secret is not told that there is, or was, such a key
    assert judge_key(RECORD.revoked(NOW), wrong, NOW) is KeyRefusal.UNKNOWN
    assert judge_key(changed(signed_only=True), wrong, NOW) is KeyRefusal.UNKNOWN


def test_the_hash_that_is_kept_is_not_a_key() -> None:
    assert judge_key(RECORD, RECORD.secret_hash, NOW) is KeyRefusal.UNKNOWN


# Signatures


def judged(record: KeyRecord | None = RECORD, request: SignedRequest = REQUEST, **given: object) -> object:
    signature = given.get("signature", sign(RECORD.secret_hash, REQUEST))
    return judge_signed(record, request, str(signature), int(str(given.get("time", NOW))), WINDOW)


def test_the_signature_is_what_the_documentation_says() -> None:
    text = b'1700000000000\nPOST\n/orders?x=1\n{"side": "buy"}'
    key = hashlib.sha256(SECRET.encode()).hexdigest().encode()
    assert sign(RECORD.secret_hash, REQUEST) == hmac.new(key, text, hashlib.sha256).hexdigest()


def test_a_signed_request_gives_what_the_record_says_whether_or_not_it_must_be_signed() -> None:
    assert judged() == RECORD.access
    assert judged(changed(signed_only=True)) == RECORD.access


@pytest.mark.parametrize(
    "other",
    [
        {"timestamp": "1700000000001"},
        {"method": "PUT"},
        {"target": b"/orders?x=2"},
        {"target": b"/orders"},
        {"body": b'{"side": "sell"}'},
        {"target": b"/orders", "body": b'?x=1\n{"side": "buy"}'},
        {"target": b"/orders?x=1\n{", "body": b'"side": "buy"}'},
    ],
)
def test_a_signature_is_for_one_request(other: dict[str, object]) -> None:
    assert judged(request=msgspec.structs.replace(REQUEST, **other)) is KeyRefusal.SIGNATURE_INVALID


@pytest.mark.parametrize("signature", ["", "0" * 64, sign(RECORD.secret_hash, REQUEST).upper(), "ü"])
def test_what_is_no_signature_of_this_request(signature: str) -> None:
    assert judged(signature=signature) is KeyRefusal.SIGNATURE_INVALID


def test_a_key_that_signs_for_another_is_not_it() -> None:
    assert judged(changed(secret_hash=hash_secret("another"))) is KeyRefusal.SIGNATURE_INVALID
    assert judged(None) is KeyRefusal.UNKNOWN


@pytest.mark.parametrize(
    ("off", "is_good"), [(WINDOW, True), (-WINDOW, True), (WINDOW + 1, False), (-WINDOW - 1, False)]
)
def test_the_window_is_open_to_both_sides(off: int, is_good: bool) -> None:
    assert judged(time=NOW + off) == (RECORD.access if is_good else KeyRefusal.TIMESTAMP_OUTSIDE_WINDOW)


@pytest.mark.parametrize("timestamp", ["", "now", "-1", "1700000000.0", "1_700_000_000_000", "٣", "1" * 16])
def test_what_is_no_timestamp(timestamp: str) -> None:
    request = msgspec.structs.replace(REQUEST, timestamp=timestamp)
    signature = sign(RECORD.secret_hash, request)
    assert judged(request=request, signature=signature) is KeyRefusal.TIMESTAMP_OUTSIDE_WINDOW


def test_signing_does_not_help_a_key_that_has_ended() -> None:
    assert judged(RECORD.revoked(NOW)) is KeyRefusal.REVOKED
    assert judged(changed(expires_at=NOW)) is KeyRefusal.EXPIRED
    assert judged(RECORD.revoked(NOW), signature="0" * 64) is KeyRefusal.SIGNATURE_INVALID


def test_a_signature_is_good_once_for_as_long_as_its_timestamp_is() -> None:
    """Signed ahead of our clock by the whole window, it stays good for two of them: try each moment of that."""
    for first in range(0, 4 * WINDOW, WINDOW // 4):
        for later in range(0, 2 * WINDOW + 1, WINDOW // 4):
            seen = SeenSignatures(WINDOW)
            assert seen.is_new("start", NOW)
            assert seen.is_new("a", NOW + first)
            seen.is_new("between", NOW + first + later // 2)
            assert not seen.is_new("a", NOW + first + later), (first, later)


def test_signatures_are_forgotten_when_their_time_has_passed() -> None:
    seen = SeenSignatures(WINDOW)
    for number in range(100):
        assert seen.is_new(str(number), NOW + number * WINDOW)
    assert seen.is_new("0", NOW + 100 * WINDOW)
    assert len(seen._latest) + len(seen._before) <= 5


# Rates


def test_a_bucket_lets_a_burst_through_and_then_its_rate() -> None:
    bucket = TokenBucket(10, NOW)
    assert [bucket.take(1, NOW) for _ in range(11)] == [True] * 10 + [False]
    assert bucket.seconds_until(1, NOW) == 1
    assert not bucket.take(1, NOW + SECOND // 10 - 1)
    assert bucket.take(1, NOW + SECOND // 10)
    assert not bucket.take(1, NOW + SECOND // 10)


def test_in_the_long_run_the_rate_is_kept_whatever_is_tried() -> None:
    bucket, taken = TokenBucket(3, NOW), 0
    for moment in range(NOW, NOW + 100 * SECOND, 7_919):
        taken += bucket.take(1, moment)
    assert 3 * 100 <= taken <= 3 * 100 + 3


def test_what_is_left_and_when_it_is_full_again() -> None:
    bucket = TokenBucket(10, NOW)
    assert (bucket.remaining(NOW), bucket.seconds_until_full(NOW)) == (10, 0)
    bucket.take(4, NOW)
    assert (bucket.remaining(NOW), bucket.seconds_until_full(NOW)) == (6, 1)
    assert bucket.remaining(NOW + SECOND) == 10
    assert bucket.remaining(NOW + 100 * SECOND) == 10


def test_what_costs_more_than_a_full_bucket_leaves_it_in_debt() -> None:
    bucket = TokenBucket(10, NOW)
    assert bucket.take(45, NOW)
    assert (bucket.remaining(NOW), bucket.seconds_until(1, NOW)) == (0, 4)
    assert not bucket.take(1, NOW + 3 * SECOND)
    assert bucket.take(1, NOW + 4 * SECOND)
    assert not bucket.take(45, NOW + 4 * SECOND)  # not full


def test_a_clock_that_goes_back_gives_nothing() -> None:
    bucket = TokenBucket(1, NOW)
    assert bucket.take(1, NOW)
    assert not bucket.take(1, NOW - 10 * SECOND)
    assert bucket.take(1, NOW + SECOND)
