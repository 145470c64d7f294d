"""TLS by configuration: who we are, and whom we believe. What is wrong with a file is said before serving.

Nothing here falls back to a connection without TLS, or to one whose other end was not checked.
"""

import logging
import os
import re
import ssl
from dataclasses import dataclass
from pathlib import Path

from runtime.service import Refused
from runtime.settings import Settings

log = logging.getLogger(__name__)

# nats-py's streams were not made for TLS, and asyncio says so at each end of a connection
logging.getLogger("asyncio").addFilter(lambda record: "eof_received() has no effect" not in record.getMessage())

SCHEME = "tls"
NO_CERTIFICATE = "it wants a certificate of ours, and none or not this one was given"
_ABOUT_OURS = re.compile("ALERT.*(CERTIFICATE|UNKNOWN_CA)")


def server_context(settings: Settings) -> ssl.SSLContext | None:
    """For the ports of a service; None if it is to serve without TLS. Raises Refused."""
    if settings.tls_cert is None and settings.tls_key is None:
        return None
    if settings.tls_cert is None or settings.tls_key is None:
        raise Refused("PRICETIME_TLS_CERT and PRICETIME_TLS_KEY are two halves: set both, or neither")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    _load_own(context, settings.tls_cert, settings.tls_key, "PRICETIME_TLS")
    return context


@dataclass(frozen=True, slots=True)
class NatsTls:
    """How nats-server proves who it is, and how we do. `pin`: it is the one with this very certificate."""

    ca: str | None = None
    cert: str | None = None
    key: str | None = None
    pin: str | None = None

    @property
    def is_wanted(self) -> bool:
        return self != NatsTls()

    def context(self) -> ssl.SSLContext:
        """Raises Refused."""
        if self.pin is not None:
            context = pinned_context(self.pin)
        else:
            context = ssl.create_default_context()
            if self.ca is not None:
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
                _load_trusted(context, self.ca, "PRICETIME_NATS_TLS_CA")
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if (self.cert is None) != (self.key is None):
            raise Refused("PRICETIME_NATS_TLS_CERT and PRICETIME_NATS_TLS_KEY are two halves: set both, or neither")
        if self.cert is not None and self.key is not None:
            _load_own(context, self.cert, self.key, "PRICETIME_NATS_TLS")
        return context


def nats_tls(settings: Settings) -> NatsTls:
    return NatsTls(settings.nats_tls_ca, settings.nats_tls_cert, settings.nats_tls_key, settings.nats_tls_pin)


def pinned_context(certificate: str) -> ssl.SSLContext:
    """For a server that has this certificate and its key, whatever name we reach it by. Raises Refused."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False  # who holds the key is the one meant
    context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
    _check_readable(certificate, "the certificate")
    first = re.search(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", Path(certificate).read_text(), re.S)
    if first is None:
        raise Refused(f"{certificate} holds no certificate: give PEM")
    try:
        context.load_verify_locations(cadata=first[0])  # not its chain: others have certificates from there as well
    except ssl.SSLError as error:
        raise Refused(f"{certificate} holds no certificate ({_words(error)}): give PEM") from error
    return context


def why_refused(error: BaseException) -> str | None:
    """What is wrong with a certificate, theirs or ours, in words. None for what may be better at the next try."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not good: {error.verify_message.rstrip('.')}"
    if isinstance(error, ssl.SSLError) and _ABOUT_OURS.search(error.reason or ""):
        return NO_CERTIFICATE
    return None


def _load_own(context: ssl.SSLContext, cert: str, key: str, name: str) -> None:
    for path, variable in ((cert, f"{name}_CERT"), (key, f"{name}_KEY")):
        _check_readable(path, variable)
    try:
        context.load_cert_chain(cert, key, password="")  # never ask on a terminal
    except (ssl.SSLError, ValueError) as error:
        raise Refused(
            f"{name}_CERT {cert} and {name}_KEY {key} do not go together ({_words(error)}): give a certificate with "
            "its chain, and its key without a password, both as PEM"
        ) from error
    if Path(key).stat().st_mode & 0o007:
        log.warning("%s_KEY %s can be read by everybody on this machine: chmod 600 it", name, key)


def _load_trusted(context: ssl.SSLContext, path: str, name: str) -> None:
    _check_readable(path, name)
    try:
        context.load_verify_locations(path)
    except ssl.SSLError as error:
        raise Refused(f"{name} {path} holds no certificates ({_words(error)}): give PEM") from error


def _check_readable(path: str, name: str) -> None:
    try:
        with open(path, "rb"):
            pass
    except OSError as error:
        raise Refused(f"{name} {path} cannot be read: {os.strerror(error.errno or 0)}") from error


def _words(error: Exception) -> str:
    return str(getattr(error, "reason", None) or error)
