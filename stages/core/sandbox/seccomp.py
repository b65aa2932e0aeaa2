"""The system call filter: an allow-list, with arguments judged where a call is only sometimes harmless.

Covered: everything outside syscalls.ALLOWED; other processes as targets of signals; new processes (threads
pass); anonymous shared memory, which RLIMIT_DATA would not count; descriptors' signals and leases.
Not covered: what an allowed call does to a file or descriptor that the worker legitimately holds; bugs in the
allowed calls themselves; strings and structures behind pointers, which a filter cannot read.
"""

import ctypes
import errno
import os
import struct
from typing import NamedTuple

from stages.core.sandbox.syscalls import ALLOWED, AUDIT_ARCH, DENIED, architecture, numbers
from stages.core.sandbox.system import setup_call

SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC = 1, 1
RET_KILL, RET_ERRNO, RET_ALLOW = 0x80000000, 0x00050000, 0x7FFF0000  # linux/seccomp.h
LOAD_WORD, AND, JUMP_EQUAL, RETURN = 0x20, 0x54, 0x15, 0x06  # linux/bpf_common.h: classes and modes, or-ed
NUMBER_AT, ARCH_AT, ARGUMENTS_AT = 0, 4, 16  # offsets in struct seccomp_data

CLONE_THREAD = 0x00010000
CLONE_NEW = 0x7E020080  # every namespace flag: cgroup, uts, ipc, user, pid, net, mount, time
MAP_SHARED_ANONYMOUS = 0x21
O_TRUNC = 0o1000
FCNTL = (0, 1, 2, 3, 4, 5, 6, 7, 1030)  # duplicate, flags, POSIX locks, duplicate with close-on-exec
IOCTL = (
    0x5401,
    0x5413,
    0x541B,
    0x5421,
    0x5450,
    0x5451,
)  # is it a terminal, its size, FIONREAD/FIONBIO, cloexec
PRCTL = (3, 15, 16, 21, 39, 0x53564D41)  # dumpable?, thread names, seccomp?, no_new_privs?, names of mappings


class Rule(NamedTuple):
    """`name` is allowed if (low word of an argument) & `mask` is in `values`; inverted by `unless`."""

    name: str
    argument: int
    values: tuple[int, ...]
    mask: int = 0xFFFFFFFF
    unless: bool = False


def rules(pid: int, *, landlock_truncates: bool) -> tuple[Rule, ...]:
    """The argument rules for process `pid`. Before Landlock ABI 3, opening with O_TRUNC is refused here."""
    fixed = (
        Rule("clone", 0, (CLONE_THREAD,), mask=CLONE_THREAD | CLONE_NEW),
        Rule("mmap", 3, (MAP_SHARED_ANONYMOUS,), mask=MAP_SHARED_ANONYMOUS, unless=True),
        Rule("kill", 0, (pid,)),
        Rule("tgkill", 0, (pid,)),
        Rule("prctl", 0, PRCTL),
        Rule("ioctl", 1, IOCTL),
        Rule("fcntl", 1, FCNTL),
        Rule("prlimit64", 0, (0, pid)),  # its own limits, which it can only lower
    )
    if landlock_truncates:
        return fixed
    return (
        *fixed,
        Rule("open", 1, (O_TRUNC,), mask=O_TRUNC, unless=True),
        Rule("openat", 2, (O_TRUNC,), mask=O_TRUNC, unless=True),
    )


def program(pid: int, machine: str, *, landlock_truncates: bool = True) -> bytes:
    """The filter as an array of struct sock_filter for `machine` ('x86_64' or 'aarch64').

    Order: another architecture's call is fatal; argument rules; DENIED → EPERM; ALLOWED; the rest → ENOSYS.
    The x32 numbers of x86_64 (bit 30 set) match no entry and end in ENOSYS.
    """
    table: dict[str, int] = {}
    for entry in ALLOWED.values():
        table |= numbers(entry, machine)
    code = [_op(LOAD_WORD, ARCH_AT), _op(JUMP_EQUAL, AUDIT_ARCH[machine], 1, 0), _op(RETURN, RET_KILL)]
    code.append(_op(LOAD_WORD, NUMBER_AT))
    for rule in rules(pid, landlock_truncates=landlock_truncates):
        if rule.name in table:
            code += _judge(table.pop(rule.name), rule)
    for entry in DENIED.values():
        for number in numbers(entry, machine).values():
            code += _answer(number, RET_ERRNO | errno.EPERM)
    for number in table.values():
        code += _answer(number, RET_ALLOW)
    code.append(_op(RETURN, RET_ERRNO | errno.ENOSYS))
    return b"".join(code)


def install(*, landlock_truncates: bool) -> None:
    """Put the filter on every thread of this process, for good. Needs no_new_privs.

    Raises NotIsolated on an unknown architecture, OSError if the kernel refuses.
    """
    code = program(os.getpid(), architecture(), landlock_truncates=landlock_truncates)
    buffer = ctypes.create_string_buffer(code, len(code))
    header = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(code) // 8, ctypes.addressof(buffer)))
    setup_call("seccomp", SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, header)


def _op(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)


def _answer(number: int, verdict: int) -> list[bytes]:
    return [_op(JUMP_EQUAL, number, 0, 1), _op(RETURN, verdict)]


def _judge(number: int, rule: Rule) -> list[bytes]:
    deny = RET_ERRNO | errno.EPERM
    match, otherwise = (deny, RET_ALLOW) if rule.unless else (RET_ALLOW, deny)
    body = [_op(LOAD_WORD, ARGUMENTS_AT + 8 * rule.argument), _op(AND, rule.mask)]
    for value in rule.values:
        body += _answer(value, match)
    body.append(_op(RETURN, otherwise))
    return [_op(JUMP_EQUAL, number, 0, len(body)), *body]
