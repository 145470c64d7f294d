"""What the services with a port of their own share: the listening socket, and uvicorn on it."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from runtime.service import Refused

BACKLOG = 2048


def listening_socket(inherited_fd: int | None, host: str, port: int) -> socket.socket:
    """The socket inherited from the supervisor, or one of our own. Raises Refused when the port is taken."""
    if inherited_fd is not None:
        return socket.socket(fileno=inherited_fd)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise Refused(f"cannot listen on {host}:{port}: {error.strerror}") from error


class Server(uvicorn.Server):
    """uvicorn without its signal handlers: runtime.service has the only ones."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
