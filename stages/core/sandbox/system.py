"""Raw system calls through ctypes: what the lock needs and Python does not offer."""

import ctypes
import os
from functools import cache

from stages.core.sandbox.syscalls import SETUP, architecture, numbers

PR_SET_PDEATHSIG, PR_CAPBSET_DROP, PR_CAP_AMBIENT = 1, 24, 47  # linux/prctl.h
PR_SET_NO_NEW_PRIVS, PR_GET_NO_NEW_PRIVS, PR_GET_SECCOMP = 38, 39, 21
PR_CAP_AMBIENT_CLEAR_ALL = 4


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


@cache
def _setup() -> dict[str, int]:
    return numbers(SETUP, architecture())


def call(number: int, *arguments: object) -> int:
    """Result of system call `number`; integers go as C longs, everything else as ctypes sees it.

    Raises OSError with the kernel's errno.
    """
    words = [ctypes.c_long(word) if isinstance(word, int) else word for word in arguments]
    ctypes.set_errno(0)
    result = int(_libc().syscall(ctypes.c_long(number), *words))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def setup_call(name: str, *arguments: object) -> int:
    """As `call`, by the name of one of the lock's own calls (prctl, capset, seccomp, landlock_*).

    Raises NotIsolated on an architecture without a table, OSError with the kernel's errno.
    """
    return call(_setup()[name], *arguments)


def prctl(option: int, *arguments: int) -> int:
    """prctl(2); missing arguments are zero, as several options insist. Raises OSError."""
    return setup_call("prctl", option, *arguments, *[0] * (4 - len(arguments)))
