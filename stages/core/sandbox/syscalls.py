"""System calls by number, and why a worker may or may not make them.

Each entry reads `name x86_64 aarch64`; `-` where the architecture has no such call. Generated from the
kernel's own headers (asm/unistd_64.h, asm-generic/unistd.h), checked against them in tests.

A call in neither table, today's or tomorrow's, is answered ENOSYS, as an older kernel would: the C library
then falls back (clone3 to clone, for one). A call in `DENIED` is answered EPERM, so that a message says
"not permitted" where a program would otherwise report a missing feature.
"""

import errno
import os
import sys

from stages.core.errors import NotIsolated

ALLOWED = {
    "bytes in and out of descriptors it holds": """
        read 0 63, write 1 64, readv 19 65, writev 20 66, pread64 17 67, pwrite64 18 68, preadv 295 69,
        pwritev 296 70, lseek 8 62, close 3 57, dup 32 23, dup2 33 -, dup3 292 24, pipe 22 -, pipe2 293 59,
        sendfile 40 71, fsync 74 82, fdatasync 75 83, ftruncate 77 46, fallocate 285 47, fadvise64 221 223,
        readahead 187 213, close_range 436 436
    """,
    "names that Landlock judges": """
        open 2 -, openat 257 56, access 21 -, faccessat 269 48, faccessat2 439 439, readlink 89 -,
        readlinkat 267 78, mkdir 83 -, mkdirat 258 34, unlink 87 -, unlinkat 263 35, rmdir 84 -,
        rename 82 -, renameat 264 38, renameat2 316 276, getdents64 217 61, getcwd 79 17, chdir 80 49,
        fchdir 81 50, umask 95 166
    """,
    "metadata, which Landlock cannot hide (L3 does)": """
        stat 4 -, fstat 5 80, lstat 6 -, newfstatat 262 79, statx 332 291, statfs 137 43, fstatfs 138 44
    """,
    "memory": """
        mprotect 10 226, munmap 11 215, mremap 25 216, madvise 28 233, msync 26 227, brk 12 214,
        mlock 149 228, munlock 150 229, membarrier 324 283
    """,
    "threads and waiting": """
        futex 202 98, set_robust_list 273 99, get_robust_list 274 100, set_tid_address 218 96,
        rseq 334 293, sched_yield 24 124, sched_getaffinity 204 123, sched_getparam 143 121,
        sched_getscheduler 145 120, sched_get_priority_max 146 125, sched_get_priority_min 147 126,
        exit 60 93, exit_group 231 94, restart_syscall 219 128, arch_prctl 158 -, gettid 186 178
    """,
    "signals of its own": """
        rt_sigaction 13 134, rt_sigprocmask 14 135, rt_sigreturn 15 139, rt_sigpending 127 136,
        rt_sigtimedwait 128 137, rt_sigsuspend 130 133, sigaltstack 131 132
    """,
    "clocks": """
        clock_gettime 228 113, clock_getres 229 114, clock_nanosleep 230 115, gettimeofday 96 169,
        nanosleep 35 101, time 201 -, times 100 153, getitimer 36 102
    """,
    "waiting on its own pipes": """
        poll 7 -, ppoll 271 73, select 23 -, pselect6 270 72, epoll_create1 291 20, epoll_ctl 233 21,
        epoll_wait 232 -, epoll_pwait 281 22, eventfd2 290 19
    """,
    "who and where am I": """
        getpid 39 172, getppid 110 173, getuid 102 174, geteuid 107 175, getgid 104 176, getegid 108 177,
        getresuid 118 148, getresgid 120 150, getgroups 115 158, getpgrp 111 -, getpgid 121 155,
        getsid 124 156, getrusage 98 165, getrlimit 97 163, uname 63 160, sysinfo 99 179, getcpu 309 168,
        getrandom 318 278, capget 125 90, getpriority 140 141
    """,
    "judged by their arguments below": """
        clone 56 220, mmap 9 222, kill 62 129, tgkill 234 131, prctl 157 167, ioctl 16 29, fcntl 72 25,
        prlimit64 302 261
    """,
}

DENIED = {
    "network and local sockets": """
        socket 41 198, socketpair 53 199
    """,
    "new programs and processes": """
        execve 59 221, execveat 322 281, fork 57 -, vfork 58 -, memfd_create 319 279
    """,
    "other processes": """
        ptrace 101 117, process_vm_readv 310 270, process_vm_writev 311 271, pidfd_open 434 434,
        pidfd_getfd 438 438, pidfd_send_signal 424 424, tkill 200 130, rt_sigqueueinfo 129 138,
        kcmp 312 272
    """,
    "a second way past the filter": """
        io_uring_setup 425 425, io_uring_enter 426 426, io_uring_register 427 427
    """,
    "the kernel itself": """
        bpf 321 280, perf_event_open 298 241, userfaultfd 323 282, init_module 175 105,
        finit_module 313 273, delete_module 176 106, kexec_load 246 104, reboot 169 142, syslog 103 116,
        quotactl 179 60, swapon 167 224, acct 163 89
    """,
    "namespaces and mounts": """
        unshare 272 97, setns 308 268, mount 165 40, umount2 166 39, pivot_root 155 41, chroot 161 51,
        open_tree 428 428, move_mount 429 429, fsopen 430 430, fsmount 432 432, mount_setattr 442 442,
        open_by_handle_at 304 265, name_to_handle_at 303 264
    """,
    "keys": """
        keyctl 250 219, add_key 248 217, request_key 249 218
    """,
    "identity": """
        setuid 105 146, setgid 106 144, setreuid 113 145, setregid 114 143, setresuid 117 147,
        setresgid 119 149, setgroups 116 159, setfsuid 122 151, setfsgid 123 152, capset 126 91,
        personality 135 92, setsid 112 157, setpgid 109 154
    """,
    "metadata of files that it owns but may not write (outside Landlock)": """
        chmod 90 -, fchmod 91 52, fchmodat 268 53, chown 92 -, fchown 93 55, lchown 94 -, fchownat 260 54,
        utime 132 -, utimes 235 -, utimensat 280 88, futimesat 261 -, setxattr 188 5, lsetxattr 189 6,
        fsetxattr 190 7, removexattr 197 14, lremovexattr 198 15, fremovexattr 199 16, mknod 133 -,
        mknodat 259 33
    """,
    "a truncation by name, unseen by Landlock before ABI 3": """
        truncate 76 45, creat 85 -
    """,
    "links: another name for a file outlives the worker's grants": """
        link 86 -, linkat 265 37, symlink 88 -, symlinkat 266 36
    """,
    "shared memory and messages with others": """
        shmget 29 194, shmat 30 196, msgget 68 186, semget 64 190, mq_open 240 180, mq_unlink 241 181
    """,
    "other processes' scheduling": """
        sched_setaffinity 203 122, sched_setscheduler 144 119, sched_setattr 314 274,
        sched_setparam 142 118, setpriority 141 140, ioprio_set 251 30, setrlimit 160 164
    """,
    "watching and dropping what others do": """
        inotify_init 253 -, inotify_init1 294 26, inotify_add_watch 254 27, fanotify_init 300 262,
        fanotify_mark 301 263
    """,
}

SETUP = """
    prctl 157 167, capset 126 91, seccomp 317 277, landlock_create_ruleset 444 444,
    landlock_add_rule 445 445, landlock_restrict_self 446 446, capget 125 90
"""  # what the lock itself calls, before the filter stands

AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}  # linux/audit.h


def architecture() -> str:
    """'x86_64' or 'aarch64', for a 64-bit little-endian interpreter.

    Raises NotIsolated elsewhere: without a table of numbers a filter would deny the wrong calls.
    """
    machine = os.uname().machine
    if (
        sys.platform == "linux"
        and machine in AUDIT_ARCH
        and sys.byteorder == "little"
        and sys.maxsize > 2**32
    ):
        return machine
    raise NotIsolated(
        f"no system call table for {sys.platform}/{machine}: ENOSYS ({errno.ENOSYS}). Isolation needs Linux "
        "on x86_64 or aarch64, 64 bit. Run there, or set isolation.minimum=L0 (degraded, never promotable)."
    )


def numbers(table: str, machine: str) -> dict[str, int]:
    """Name → number on `machine` for one entry of the tables above, without the calls it lacks."""
    column = 1 if machine == "x86_64" else 2
    rows = [entry.split() for entry in table.split(",")]
    return {row[0]: int(row[column]) for row in rows if row[column] != "-"}
