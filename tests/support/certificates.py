"""Certificates for tests: made anew, of authorities that nobody else believes."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme


@dataclass(frozen=True)
class Certificate:
    """The files of a certificate with its chain, and of its key."""

    cert: str
    key: str


class Authority:
    """Issues certificates into `folder`; `file` is its own."""

    def __init__(self, folder: Path, name: str = "authority") -> None:
        self._authority = trustme.CA()
        self._folder = folder
        self._name = name
        self.file = str(folder / f"{name}.pem")
        self._authority.cert_pem.write_to_path(self.file)

    def issue(self, *names: str, expired: bool = False) -> Certificate:
        """For these hosts; of yesterday, if expired."""
        end = datetime.now(UTC) - timedelta(days=1) if expired else None
        start = datetime.now(UTC) - timedelta(days=30)
        made = self._authority.issue_cert(*names, not_before=start, not_after=end)
        stem = f"{self._name}-{'-'.join(names).replace('*', 'any')}{'-expired' if expired else ''}"
        cert, key = self._folder / f"{stem}.crt", self._folder / f"{stem}.key"
        cert.write_bytes(b"".join(each.bytes() for each in made.cert_chain_pems))
        made.private_key_pem.write_to_path(str(key))
        key.chmod(0o600)
        return Certificate(str(cert), str(key))
