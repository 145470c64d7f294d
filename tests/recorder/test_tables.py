"""How ints travel to and from Postgres; what the statements do is in test_store.py."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recorder.tables import connect, decode_numeric, encode_numeric


@given(st.integers(-(10**40), 10**40))
def test_numerics_come_back(value: int) -> None:
    assert decode_numeric(encode_numeric(value)) == value


@pytest.mark.stack
async def test_postgres_understands_our_numerics(database: str) -> None:
    connection = await connect(database)
    values = [0, 1, -1, -12_345_678, 9_999, 10_000, 12_345_678, 10**8, 10**27, 10**27 + 1]
    for value in values:
        assert await connection.fetchval("select $1::numeric::text", value) == str(value)
        assert await connection.fetchval("select $1::text::numeric", str(value)) == value
    await connection.close()
