"""Run a program so that each of its fsyncs is reported to somebody else and waits for the answer.

    launch_with_syncs_reported.py DESCRIPTOR PROGRAM ARGUMENT ...

A seccomp filter turns fsync and fdatasync into notifications; the descriptor on which they arrive is sent over the
socket DESCRIPTOR. Then this process becomes the program. chaos/disks.py is the other side.
"""

import array
import ctypes
import os
import platform
import socket
import struct
import sys

_NUMBERS = {"x86_64": (317, 74, 75), "aarch64": (277, 82, 83)}
"""Of the system calls seccomp, fsync and fdatasync."""
_PR_SET_NO_NEW_PRIVS = 38
_SET_MODE_FILTER, _NEW_LISTENER = 1, 8
_LOAD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_ALLOW, _NOTIFY = 0x7FFF0000, 0x7FC00000


def main(descriptor: int, command: list[str]) -> None:
    seccomp, fsync, fdatasync = _NUMBERS[platform.machine()]
    listener = _install(seccomp, _filter(fsync, fdatasync))
    with socket.socket(fileno=descriptor) as connection:
        rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [listener]))
        connection.sendmsg([b"!"], [rights])
    os.close(listener)
    os.execv(command[0], command)


def _filter(fsync: int, fdatasync: int) -> bytes:
    """Load the system call's number; two of them lead to the last instruction, the others to the one before."""
    instructions = [
        (_LOAD, 0, 0, 0),
        (_JUMP_IF_EQUAL, 2, 0, fsync),
        (_JUMP_IF_EQUAL, 1, 0, fdatasync),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _NOTIFY),
    ]
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in instructions)


def _install(seccomp: int, program: bytes) -> int:
    """The descriptor on which the notifications arrive."""
    libc = ctypes.CDLL(None, use_errno=True)
    code = ctypes.create_string_buffer(program, len(program))
    description = struct.pack("@HP", len(program) // 8, ctypes.addressof(code))
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_NO_NEW_PRIVS)")
    listener: int = libc.syscall(seccomp, _SET_MODE_FILTER, _NEW_LISTENER, description)
    if listener < 0:
        raise OSError(ctypes.get_errno(), "seccomp(SECCOMP_SET_MODE_FILTER)")
    return listener


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
