"""API keys for tests: made and revoked as `pricetime keys` does it, and requests signed as a client would."""

import secrets
import time
from dataclasses import dataclass
from typing import Any

from nats.aio.client import Client

from contracts.keys import (
    ID_BYTES,
    SECRET_BYTES,
    KeyRecord,
    Scope,
    SignedRequest,
    format_key,
    hash_secret,
    sign,
)
from runtime.clock import now
from runtime.keys import KeyStore

READ, TRADE, ADMIN = (Scope.READ,), (Scope.TRADE,), (Scope.ADMIN,)


@dataclass(frozen=True)
class MadeKey:
    record: KeyRecord
    secret: str

    @property
    def id(self) -> str:
        return self.record.id

    @property
    def key(self) -> str:
        return format_key(self.id, self.secret)

    @property
    def bearer(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.key}"}

    def signed(self, method: str, target: str, body: bytes = b"", *, milliseconds: int | None = None) -> dict[str, str]:
        """The headers of a signed request."""
        timestamp = str(time.time_ns() // 1_000_000 if milliseconds is None else milliseconds)
        request = SignedRequest(timestamp, method, target.encode(), body)
        return {
            "pricetime-key": f"pt_{self.id}",
            "pricetime-timestamp": timestamp,
            "pricetime-signature": sign(hash_secret(self.secret), request),
        }


def new_key(scopes: tuple[Scope, ...] = TRADE, accounts: tuple[str, ...] | None = ("anna",), **fields: Any) -> MadeKey:
    """One that no exchange knows yet."""
    secret = secrets.token_hex(SECRET_BYTES)
    record = KeyRecord(
        id=secrets.token_hex(ID_BYTES),
        secret_hash=hash_secret(secret),
        scopes=scopes,
        accounts=None if scopes == ADMIN else accounts,
        created_at=now(),
        **fields,
    )
    return MadeKey(record, secret)


async def make_key(
    connection: Client, scopes: tuple[Scope, ...] = TRADE, accounts: tuple[str, ...] | None = ("anna",), **fields: Any
) -> MadeKey:
    made = new_key(scopes, accounts, **fields)
    await KeyStore(connection).write(made.record)
    return made


async def revoke_key(connection: Client, made: MadeKey) -> None:
    store = KeyStore(connection)
    stored = next(each for each in await store.all() if each.id == made.id)
    await store.write(made.record.revoked(now()), after=stored.sequence)
