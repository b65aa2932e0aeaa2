"""The filter as a program: its verdicts on both architectures, by an interpreter of our own."""

import errno
import re
import struct
from pathlib import Path

import pytest

from stages.core.sandbox import seccomp, syscalls

ALLOW, EPERM, ENOSYS, KILL = "allow", "EPERM", "ENOSYS", "kill"
PID = 4242
HEADERS = {
    "x86_64": Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
    "aarch64": Path("/usr/include/asm-generic/unistd.h"),
}
RENAMED = {"fstatat": "newfstatat"}  # asm-generic defines __NR3264_fstatat and names it newfstatat afterwards


def judge(program: bytes, arch: int, number: int, *arguments: int) -> str:
    """Run the classic BPF `program` on one system call. Source: linux/filter.h, seccomp(2)."""
    words = [argument & (1 << 64) - 1 for argument in (*arguments, *[0] * (6 - len(arguments)))]
    data = struct.pack("=IIQ6Q", number, arch, 0, *words)
    place, accumulator = 0, 0
    while True:
        code, if_true, if_false, value = struct.unpack_from("=HBBI", program, 8 * place)
        place += 1
        if code == 0x20:  # load a word
            (accumulator,) = struct.unpack_from("=I", data, value)
        elif code == 0x54:  # and
            accumulator &= value
        elif code == 0x15:  # jump if equal
            place += if_true if accumulator == value else if_false
        elif code == 0x06:  # return
            return {0x80000000: KILL, 0x7FFF0000: ALLOW}.get(value) or errno.errorcode[value & 0xFFFF]
        else:
            raise AssertionError(f"unknown instruction {code:#x}")


def everything(machine: str) -> dict[str, int]:
    tables = (*syscalls.ALLOWED.values(), *syscalls.DENIED.values())
    return {name: number for table in tables for name, number in syscalls.numbers(table, machine).items()}


def verdict(machine: str, name: str, *arguments: int, truncates: bool = True) -> str:
    program = seccomp.program(PID, machine, landlock_truncates=truncates)
    return judge(program, syscalls.AUDIT_ARCH[machine], everything(machine)[name], *arguments)


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
@pytest.mark.parametrize(
    ("name", "arguments", "expected"),
    [
        ("read", (), ALLOW),
        ("futex", (), ALLOW),
        ("socket", (2, 1, 0), EPERM),
        ("execve", (), EPERM),
        ("clone", (0x3D0F00,), ALLOW),  # the flags of glibc's pthread_create
        ("clone", (17,), EPERM),  # fork: SIGCHLD alone
        ("clone", (0x10000 | 0x10000000,), EPERM),  # a thread in a new user namespace
        ("kill", (PID, 9), ALLOW),
        ("kill", (PID + 1, 9), EPERM),
        ("kill", (0, 9), EPERM),  # its whole process group
        ("kill", (-1, 9), EPERM),
        ("tgkill", (PID, PID + 3, 6), ALLOW),
        ("tgkill", (PID + 1, PID + 1, 6), EPERM),
        ("mmap", (0, 4096, 3, 0x22, -1, 0), ALLOW),  # private, anonymous
        ("mmap", (0, 4096, 1, 0x01, 5, 0), ALLOW),  # a file, shared
        ("mmap", (0, 4096, 3, 0x21, -1, 0), EPERM),  # shared, anonymous
        ("prctl", (15,), ALLOW),
        ("prctl", (1, 0), EPERM),  # PR_SET_PDEATHSIG
        ("prctl", (38, 0), EPERM),
        ("ioctl", (0, 0x5401), ALLOW),
        ("ioctl", (0, 0x5412), EPERM),  # TIOCSTI
        ("ioctl", (0, 0x1_0000_5412), EPERM),  # the kernel drops the high word, and so does the filter
        ("fcntl", (0, 1030), ALLOW),
        ("fcntl", (0, 1024), EPERM),  # F_SETLEASE
        ("prlimit64", (0, 7, 0), ALLOW),
        ("prlimit64", (1, 7, 0), EPERM),
        ("openat", (-100, 0, 0o1000), ALLOW),
    ],
)
def test_verdict(machine: str, name: str, arguments: tuple[int, ...], expected: str) -> None:
    assert verdict(machine, name, *arguments) == expected


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_opening_with_truncation_is_refused_where_landlock_cannot_see_it(machine: str) -> None:
    assert verdict(machine, "openat", -100, 0, 0o1000, truncates=False) == EPERM
    assert verdict(machine, "openat", -100, 0, 0o2, truncates=False) == ALLOW


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_calls_in_no_table_are_answered_as_by_an_old_kernel(machine: str) -> None:
    program = seccomp.program(PID, machine)
    unknown = set(range(600)) - set(everything(machine).values())
    verdicts = {judge(program, syscalls.AUDIT_ARCH[machine], number) for number in unknown}
    assert verdicts == {ENOSYS}
    assert 435 in unknown  # clone3: the C library falls back to clone, whose flags a filter can read
    assert judge(program, syscalls.AUDIT_ARCH[machine], 0x40000000) == ENOSYS  # x32's read


def test_a_call_of_another_architecture_is_fatal() -> None:
    program = seccomp.program(PID, "x86_64")
    assert judge(program, 0x40000003, 3) == KILL  # i386
    assert judge(program, syscalls.AUDIT_ARCH["aarch64"], 63) == KILL


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_no_call_is_both_allowed_and_denied_or_stands_under_two_numbers(machine: str) -> None:
    entries = [
        item
        for table in (*syscalls.ALLOWED.values(), *syscalls.DENIED.values())
        for item in syscalls.numbers(table, machine).items()
    ]
    assert len({name for name, _ in entries}) == len({number for _, number in entries}) == len(entries)


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_numbers_are_those_of_the_kernels_headers(machine: str) -> None:
    header = HEADERS[machine]
    if not header.exists():
        pytest.skip(f"no {header} (Debian: linux-libc-dev)")
    found = dict(re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)\b", header.read_text()))
    found = {RENAMED.get(name, name): int(number) for name, number in found.items()}
    ours = everything(machine) | syscalls.numbers(syscalls.SETUP, machine)
    assert {name: found.get(name) for name in ours} == ours
