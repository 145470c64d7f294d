"""A program to run as a child: what it is, and how it is started so that it never outlives this process."""

import ctypes
import os
import pwd
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import IO, Any

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


@dataclass(frozen=True, kw_only=True, slots=True)
class Program:
    """A command with everything that its start and its stop need."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    """Set on top of this process's own environment."""
    user: str | None = None
    """The system user to run as; None is the user of this process."""
    inherited_fds: tuple[int, ...] = ()
    stop_signal: signal.Signals = signal.SIGTERM
    stop_seconds: float = 5.0
    """How long it may take to stop before it is killed."""
    orphan_signal: signal.Signals = signal.SIGKILL
    """What the kernel sends it when this process dies without stopping it."""


def spawn_options(program: Program, output: IO[bytes] | int) -> dict[str, Any]:
    """Keyword arguments for subprocess.Popen and asyncio.create_subprocess_exec.

    A session of its own, so that Ctrl-C in the terminal reaches this process alone and it stops the parts in order.
    Start programs from the main thread: the kernel's "parent died" means the thread that started the child.
    """
    options: dict[str, Any] = {
        "env": {**os.environ, **program.environment},
        "stdin": subprocess.DEVNULL,
        "stdout": output,
        "stderr": subprocess.STDOUT,
        "start_new_session": True,
        "pass_fds": program.inherited_fds,
        "preexec_fn": _bound_to_parent(program.orphan_signal, os.getpid()),
    }
    if program.user is not None:  # from a folder that it may enter
        options |= {"user": program.user, "group": pwd.getpwnam(program.user).pw_gid, "extra_groups": [], "cwd": "/"}
    return options


def spawn(program: Program, output: IO[bytes] | int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(program.command, **spawn_options(program, output))


def stop(process: subprocess.Popen[bytes], program: Program) -> None:
    """Ask it to stop, wait, and kill it when it takes too long."""
    if process.poll() is None:
        process.send_signal(program.stop_signal)
    try:
        process.wait(program.stop_seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _bound_to_parent(number: signal.Signals, parent: int) -> Callable[[], None]:
    """For preexec_fn, which runs after the change of user: that change would clear what is set here."""

    def bind() -> None:
        if _libc is not None:
            _libc.prctl(_PR_SET_PDEATHSIG, int(number))
            if os.getppid() != parent:
                os._exit(1)

    return bind
