"""A service's port: its own, an inherited one, or a refusal that names it; and signals left to runtime.service."""

import signal
import socket

import pytest
import uvicorn

from runtime.server import Server, listening_socket
from runtime.service import Refused


def test_a_socket_of_our_own() -> None:
    with listening_socket(None, "127.0.0.1", 0) as listener:
        assert listener.getsockname()[0] == "127.0.0.1"
        with socket.create_connection(listener.getsockname()):
            pass


def test_an_inherited_socket_wins() -> None:
    with socket.create_server(("127.0.0.1", 0)) as inherited:
        address = inherited.getsockname()
        with listening_socket(inherited.detach(), "127.0.0.1", 1) as listener:
            assert listener.getsockname() == address


def test_a_port_in_use_is_refused_by_name() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(Refused, match=f"cannot listen on 127.0.0.1:{port}: "):
            listening_socket(None, "127.0.0.1", port)


def test_signal_handlers_stay_as_they_are() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with Server(uvicorn.Config("no:app")).capture_signals():
        assert signal.getsignal(signal.SIGTERM) is before
