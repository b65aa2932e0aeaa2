"""The file rules: which paths this process may read and write from now on, by Landlock.

Covered (kernel ABI in brackets): reading, writing, creating, removing and executing files [1], linking or
renaming between folders [2], truncating [3], TCP bind and connect [4], device ioctls [5], abstract sockets
and signals to processes outside [6]. What an old ABI lacks, the seccomp filter refuses. Every ABI refuses
ptrace of outsiders, and with it the secrets in their /proc/PID.
Not covered: `stat`, `access` and `readlink` of outside paths (level L3 hides them); changes of mode, owner,
times and extended attributes (refused by seccomp); descriptors that were open before.
"""

import ctypes
import errno
import os
import stat
import struct
from collections.abc import Iterable
from pathlib import Path

from stages.core.sandbox.system import setup_call

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR, REMOVE_DIR, REMOVE_FILE = (1 << bit for bit in range(6))
MAKE_DIR, MAKE_REG, REFER, TRUNCATE, IOCTL_DEV = 1 << 7, 1 << 8, 1 << 13, 1 << 14, 1 << 15
HANDLED_BITS = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}  # ABI -> number of file rights; 5 and later: 16
BIND_AND_CONNECT_TCP = 0b11  # ABI 4
SCOPE_ABSTRACT_SOCKETS_AND_SIGNALS = 0b11  # ABI 6
NEWEST = 6  # the newest ABI whose rights are listed above

READ = READ_FILE | READ_DIR
REWRITE = READ_FILE | WRITE_FILE | TRUNCATE  # an existing file: its bytes and length, nothing else
SCRATCH = REWRITE | READ_DIR | REMOVE_DIR | REMOVE_FILE | MAKE_DIR | MAKE_REG
FILE_RIGHTS = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV  # what a rule on a plain file may hold
RULE_PATH_BENEATH, CREATE_RULESET_VERSION = 1, 1


def abi() -> int:
    """Newest Landlock ABI of this kernel, at least 1.

    Raises OSError: ENOSYS (not built in), EOPNOTSUPP (not switched on at boot), EPERM (a container's filter).
    """
    return setup_call("landlock_create_ruleset", 0, 0, CREATE_RULESET_VERSION)


class Rules:
    """A rule set in the making: `allow` paths, then `enforce` once. Everything not allowed is refused."""

    def __init__(self, version: int) -> None:
        """version: the ABI to use, 1 or later; rights of ABIs after 6 are not handled. Raises OSError."""
        self._handled = (1 << HANDLED_BITS.get(version, 16)) - 1
        network = BIND_AND_CONNECT_TCP if version >= 4 else 0
        scoped = SCOPE_ABSTRACT_SOCKETS_AND_SIGNALS if version >= NEWEST else 0
        words = (self._handled, network, scoped)[: 1 if version < 4 else 2 if version < NEWEST else 3]
        attributes = struct.pack(f"={len(words)}Q", *words)
        buffer = ctypes.create_string_buffer(attributes, len(attributes))
        self._ruleset = setup_call("landlock_create_ruleset", buffer, len(attributes), 0)

    def allow(self, paths: Iterable[Path], rights: int) -> None:
        """Grant `rights` beneath each path, symbolic links followed. Raises OSError naming the path."""
        for path in paths:
            handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
            try:
                self._add(handle, rights)
            except OSError as problem:
                raise OSError(problem.errno, problem.strerror, str(path)) from problem
            finally:
                os.close(handle)

    def allow_pinned(self, paths: Iterable[Path]) -> None:
        """Grant reading of files in /proc or /sys that exist, and hold them by an O_PATH descriptor.

        Rules follow inodes, and such a file gets a new one when memory pressure drops it: a held one stays.
        """
        for path in paths:
            try:
                self._add(os.open(path, os.O_PATH | os.O_CLOEXEC), READ)
            except OSError as problem:
                if problem.errno not in (errno.ENOENT, errno.EACCES):
                    raise

    def _add(self, handle: int, rights: int) -> None:
        if not stat.S_ISDIR(os.fstat(handle).st_mode):
            rights &= FILE_RIGHTS
        rule = struct.pack("=Qi", rights & self._handled, handle)
        buffer = ctypes.create_string_buffer(rule, len(rule))
        setup_call("landlock_add_rule", self._ruleset, RULE_PATH_BENEATH, buffer, 0)

    def enforce(self) -> None:
        """Confine this thread and all it starts, for good. Needs no_new_privs. Raises OSError."""
        setup_call("landlock_restrict_self", self._ruleset, 0)
        os.close(self._ruleset)
