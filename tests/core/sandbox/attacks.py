"""What a taken-over worker might try. Runs inside a worker (scene.py puts it there), one function an attempt.

Each attempt does no harm outside the scene if it succeeds. `attempt_all` gives name → 'denied' or 'open'; an
attempt is denied if it raises one of REFUSALS. `path` attempts are denied as well if the name does not exist.
"""

import ctypes
import errno
import mmap
import os
import resource
import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

from stages.core.sandbox import lock, syscalls, system

REFUSALS = frozenset({errno.EPERM, errno.EACCES, errno.ENOSYS, errno.EROFS, errno.EFBIG, errno.ENOMEM})
ABSENCES = frozenset({errno.ENOENT, errno.ENOTDIR})
NULL = ctypes.c_void_p(None)
BEYOND_TABLES = {
    "clone3": (435, 435),
    "openat2": (437, 437),
    "fchmodat2": (452, 452),
    "futex_waitv": (449, 449),
}

Scene = dict[str, str]
ATTACKS: dict[str, tuple[Callable[[Scene], object], bool]] = {}


def attack(function: Callable[[Scene], object]) -> Callable[[Scene], object]:
    """Register an attempt whose refusal is an error number."""
    ATTACKS[function.__name__] = (function, False)
    return function


def path(function: Callable[[Scene], object]) -> Callable[[Scene], object]:
    """Register an attempt that a missing name refuses too."""
    ATTACKS[function.__name__] = (function, True)
    return function


def attempt_all(job: dict[str, Scene], progress: object) -> dict[str, str]:
    """The job: every attempt in turn."""
    return {name: verdict(function, by_path, job["scene"]) for name, (function, by_path) in ATTACKS.items()}


def verdict(function: Callable[[Scene], object], by_path: bool, scene: Scene) -> str:
    try:
        function(scene)
    except OSError as problem:
        refusals = REFUSALS | ABSENCES if by_path else REFUSALS
        return "denied" if problem.errno in refusals else "open"
    except (MemoryError, ValueError):  # ValueError: resource.setrlimit, "not allowed to raise maximum limit"
        return "denied"
    return "open"


def call(name: str, *arguments: object) -> int:
    """A system call by name, whatever table it stands in."""
    machine = syscalls.architecture()
    for entry in (*syscalls.DENIED.values(), *syscalls.ALLOWED.values(), syscalls.SETUP):
        found = syscalls.numbers(entry, machine)
        if name in found:
            return system.call(found[name], *arguments)
    return system.call(BEYOND_TABLES[name][machine == "aarch64"], *arguments)


def opened(name: str | Path, flags: int) -> None:
    os.close(os.open(name, flags))


# --- network ---


@attack
def connect_tcp(scene: Scene) -> None:
    socket.create_connection(("127.0.0.1", int(scene["port"])), timeout=5).close()


@attack
def bind_tcp(scene: Scene) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))


@attack
def send_udp(scene: Scene) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"secret", ("127.0.0.1", 9))


@attack
def ipv6_socket(scene: Scene) -> None:
    socket.socket(socket.AF_INET6).close()


@attack
def packet_socket(scene: Scene) -> None:
    socket.socket(socket.AF_PACKET, socket.SOCK_RAW).close()


@attack
def netlink_socket(scene: Scene) -> None:
    socket.socket(socket.AF_NETLINK, socket.SOCK_RAW).close()


@attack
def unix_socket_by_path(scene: Scene) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(scene["unix"])


@attack
def unix_socket_abstract(scene: Scene) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect("\0" + scene["abstract"])


@attack
def socket_pair(scene: Scene) -> None:
    for end in socket.socketpair():
        end.close()


# --- files outside ---


@path
def read_hidden(scene: Scene) -> None:
    Path(scene["hidden"]).read_bytes()


@path
def stat_hidden(scene: Scene) -> None:
    Path(scene["hidden"]).stat()


@path
def handle_of_hidden(scene: Scene) -> None:
    opened(scene["hidden"], os.O_PATH)


@path
def list_hidden_folder(scene: Scene) -> None:
    list(Path(scene["hidden"]).parent.iterdir())


@path
def read_through_a_link_in_an_input(scene: Scene) -> None:
    (Path(scene["inputs"]) / "link").read_bytes()


@path
def read_through_a_linked_folder(scene: Scene) -> None:
    (Path(scene["inputs"]) / "linked" / "hidden").read_bytes()


@path
def read_through_dots(scene: Scene) -> None:
    Path(scene["inputs"], "..", "outside", "hidden").read_bytes()


@path
def read_through_own_root(scene: Scene) -> None:
    Path("/proc/self/root" + scene["hidden"]).read_bytes()


@path
def read_through_parents_root(scene: Scene) -> None:
    Path(f"/proc/{os.getppid()}/root{scene['hidden']}").read_bytes()


@path
def read_passwords(scene: Scene) -> None:
    opened("/etc/shadow", os.O_RDONLY)


@path
def read_code_repository(scene: Scene) -> None:
    list(Path(scene["repository"]).iterdir())


@path
def watch_hidden(scene: Scene) -> None:
    handle = call("inotify_init1", 0)
    try:
        call("inotify_add_watch", handle, ctypes.c_char_p(scene["hidden"].encode()), 2)
    finally:
        os.close(handle)


@path
def write_hidden(scene: Scene) -> None:
    opened(scene["hidden"], os.O_WRONLY)


@path
def write_temporary_folder(scene: Scene) -> None:
    opened("/tmp", os.O_TMPFILE | os.O_RDWR)


@path
def write_shared_memory(scene: Scene) -> None:
    opened("/dev/shm", os.O_TMPFILE | os.O_RDWR)


@path
def create_in_root(scene: Scene) -> None:
    name = Path(f"/.attack-{os.getpid()}")
    name.touch(exist_ok=False)
    name.unlink()


@path
def write_core_pattern(scene: Scene) -> None:
    opened("/proc/sys/kernel/core_pattern", os.O_WRONLY)


@path
def write_own_oom_score(scene: Scene) -> None:
    opened("/proc/self/oom_score_adj", os.O_WRONLY)


@path
def write_own_memory_file(scene: Scene) -> None:
    opened("/proc/self/mem", os.O_RDWR)


@path
def read_kernel_log(scene: Scene) -> None:
    opened("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)


# --- inputs and outputs ---


@attack
def write_input(scene: Scene) -> None:
    opened(scene["input"], os.O_RDWR)


@attack
def truncate_input_while_reading(scene: Scene) -> None:
    opened(scene["sacrifice"], os.O_RDONLY | os.O_TRUNC)


@attack
def truncate_input_by_name(scene: Scene) -> None:
    os.truncate(scene["sacrifice"], 1)


@attack
def delete_input(scene: Scene) -> None:
    Path(scene["inputs"], "doomed").unlink()


@attack
def rename_input(scene: Scene) -> None:
    Path(scene["inputs"], "renamed").rename(Path(scene["inputs"], "new"))


@attack
def change_mode_of_input(scene: Scene) -> None:
    Path(scene["input"]).chmod(0o666)


@attack
def change_mode_by_descriptor(scene: Scene) -> None:
    handle = os.open(scene["input"], os.O_RDONLY)
    try:
        os.fchmod(handle, 0o666)
    finally:
        os.close(handle)


@attack
def change_mode_by_new_call(scene: Scene) -> None:
    call("fchmodat2", -100, ctypes.c_char_p(scene["input"].encode()), 0o666, 0)


@attack
def change_owner_of_input(scene: Scene) -> None:
    os.chown(scene["input"], os.getuid(), os.getgid())


@attack
def change_times_of_input(scene: Scene) -> None:
    os.utime(scene["input"], (0, 0))


@attack
def change_attributes_of_input(scene: Scene) -> None:
    os.setxattr(scene["input"], "user.attack", b"1")


@attack
def link_input_elsewhere(scene: Scene) -> None:
    os.link(scene["input"], Path(scene["inputs"], "twin"))


@attack
def lease_on_input(scene: Scene) -> None:
    import fcntl

    handle = os.open(scene["input"], os.O_RDONLY)
    try:
        fcntl.fcntl(handle, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    finally:
        os.close(handle)


@attack
def create_beside_input(scene: Scene) -> None:
    Path(scene["inputs"], "new-file").touch(exist_ok=False)


@attack
def create_beside_output(scene: Scene) -> None:
    Path(scene["outputs"], "new-file").touch(exist_ok=False)


@attack
def make_folder_beside_output(scene: Scene) -> None:
    Path(scene["outputs"], "new-folder").mkdir()


@attack
def make_pipe_beside_output(scene: Scene) -> None:
    os.mkfifo(Path(scene["outputs"], "new-pipe"))


@attack
def make_link_beside_output(scene: Scene) -> None:
    Path(scene["outputs"], "new-link").symlink_to(scene["hidden"])


@attack
def make_device_beside_output(scene: Scene) -> None:
    os.mknod(Path(scene["outputs"], "new-device"), 0o020600, os.makedev(1, 3))


@attack
def delete_output(scene: Scene) -> None:
    Path(scene["outputs"], "spare").unlink()


@attack
def rename_output(scene: Scene) -> None:
    Path(scene["outputs"], "spare-2").rename(Path(scene["outputs"], "spare-3"))


@attack
def lengthen_output_by_writing(scene: Scene) -> None:
    handle = os.open(scene["output"], os.O_WRONLY)
    try:
        os.pwrite(handle, b"x", 1 << 20)
    finally:
        os.close(handle)


@attack
def lengthen_output_by_truncating(scene: Scene) -> None:
    handle = os.open(scene["output"], os.O_WRONLY)
    try:
        os.ftruncate(handle, 1 << 20)
    finally:
        os.close(handle)


@attack
def lengthen_output_by_allocating(scene: Scene) -> None:
    handle = os.open(scene["output"], os.O_WRONLY)
    try:
        os.posix_fallocate(handle, 0, 1 << 20)
    finally:
        os.close(handle)


# --- processes ---


@attack
def fork(scene: Scene) -> None:
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)


@attack
def clone_by_new_call(scene: Scene) -> None:
    call("clone3", NULL, 0)


@attack
def clone_into_user_namespace(scene: Scene) -> None:
    child = call("clone", 0x10000000 | signal.SIGCHLD, 0, 0, 0, 0)
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)


@attack
def execute(scene: Scene) -> None:
    os.execv("/nonexistent/program", ["program"])


@attack
def execute_by_descriptor(scene: Scene) -> None:
    call("execveat", -1, ctypes.c_char_p(b""), NULL, NULL, 0)


@attack
def run_a_shell(scene: Scene) -> None:
    subprocess.run(["/bin/true"], check=True)


@attack
def spawn(scene: Scene) -> None:
    os.waitpid(os.posix_spawn("/bin/true", ["true"], {}), 0)


@attack
def memory_file(scene: Scene) -> None:
    os.close(os.memfd_create("program"))


@attack
def signal_the_parent(scene: Scene) -> None:
    os.kill(int(scene["parent"]), 0)


@attack
def signal_everybody(scene: Scene) -> None:
    os.kill(-1, 0)


@attack
def signal_a_thread_elsewhere(scene: Scene) -> None:
    call("tgkill", int(scene["victim"]), int(scene["victim"]), 0)


@attack
def signal_any_thread(scene: Scene) -> None:
    call("tkill", int(scene["victim"]), 0)


@attack
def signal_by_handle(scene: Scene) -> None:
    os.close(call("pidfd_open", int(scene["victim"]), 0))


@attack
def own_a_pipes_signals(scene: Scene) -> None:
    import fcntl

    fcntl.fcntl(2, fcntl.F_SETOWN, int(scene["victim"]))


@attack
def trace_a_victim(scene: Scene) -> None:
    call("ptrace", 0x4206, int(scene["victim"]), 0, 0)  # PTRACE_SEIZE: does not stop it
    os.kill(int(scene["victim"]), 0)


@attack
def read_a_victims_memory(scene: Scene) -> None:
    call("process_vm_readv", int(scene["victim"]), NULL, 0, NULL, 0, 0)


@path
def read_the_parents_environment(scene: Scene) -> None:
    opened(f"/proc/{scene['parent']}/environ", os.O_RDONLY)


@path
def read_a_victims_command_line(scene: Scene) -> None:
    opened(f"/proc/{scene['victim']}/cmdline", os.O_RDONLY)


@path
def list_processes(scene: Scene) -> None:
    list(Path("/proc").iterdir())


@attack
def slow_a_victim(scene: Scene) -> None:
    call("setpriority", 0, int(scene["victim"]), 0)


@attack
def pin_a_victim(scene: Scene) -> None:
    os.sched_setaffinity(int(scene["victim"]), os.sched_getaffinity(0))


@attack
def limit_a_victim(scene: Scene) -> None:
    resource.prlimit(int(scene["victim"]), resource.RLIMIT_NOFILE)


@attack
def outlive_the_parent(scene: Scene) -> None:
    system.prctl(system.PR_SET_PDEATHSIG, signal.SIGKILL)


@attack
def leave_the_process_group(scene: Scene) -> None:
    call("setpgid", 0x3FFFFFFF, 0)  # ESRCH: a session's leader may not leave, but may try


# --- the kernel ---


@attack
def io_uring(scene: Scene) -> None:
    call("io_uring_setup", 0, NULL)


@attack
def bpf(scene: Scene) -> None:
    call("bpf", 10**6, NULL, 0)


@attack
def performance_events(scene: Scene) -> None:
    call("perf_event_open", NULL, 0, -1, -1, 0)


@attack
def page_faults_in_user_space(scene: Scene) -> None:
    call("userfaultfd", 1 << 30)


@attack
def keyring(scene: Scene) -> None:
    call("keyctl", 0, -3, 0)


@attack
def add_key(scene: Scene) -> None:
    call("add_key", NULL, NULL, NULL, 0, 0)


@attack
def mount_file_system(scene: Scene) -> None:
    os.close(call("fsopen", ctypes.c_char_p(b"tmpfs"), 0))


@attack
def unmount(scene: Scene) -> None:
    call("umount2", ctypes.c_char_p(b"/nonexistent"), 0)


@attack
def change_root(scene: Scene) -> None:
    os.chroot("/")


@attack
def enter_namespace(scene: Scene) -> None:
    call("setns", -1, 0)


@attack
def open_by_handle(scene: Scene) -> None:
    call("open_by_handle_at", -1, NULL, 0)


@attack
def load_module(scene: Scene) -> None:
    call("finit_module", -1, ctypes.c_char_p(b""), 0)


@attack
def reboot(scene: Scene) -> None:
    call("reboot", 0, 0, 0, NULL)  # wrong magic numbers: EINVAL


@attack
def kernel_log_by_call(scene: Scene) -> None:
    call("syslog", 10, NULL, 0)


@attack
def change_user(scene: Scene) -> None:
    os.setresuid(os.getuid(), os.getuid(), os.getuid())


@attack
def drop_groups(scene: Scene) -> None:
    os.setgroups(os.getgroups())


@attack
def personality(scene: Scene) -> None:
    call("personality", 0xFFFFFFFF)


@attack
def keep_a_capability(scene: Scene) -> None:
    if lock.capabilities() == 0:
        raise PermissionError(errno.EPERM, "none left")


@attack
def watch_all_files(scene: Scene) -> None:
    os.close(call("fanotify_init", 0, 0))


@attack
def system_v_memory(scene: Scene) -> None:
    call("shmget", 1, 0, 0)


@attack
def system_v_messages(scene: Scene) -> None:
    call("msgget", 1, 0)


@attack
def message_queue(scene: Scene) -> None:
    call("mq_open", NULL, 0, 0, NULL)


@attack
def type_into_the_terminal(scene: Scene) -> None:
    import fcntl

    fcntl.ioctl(2, 0x5412, b"x")  # TIOCSTI


@attack
def foreign_numbers(scene: Scene) -> None:
    """A call by its x32 number (bit 30); on aarch64 a number that nobody has."""
    system.call(0x40000000 | 39)


@attack
def uncounted_memory(scene: Scene) -> None:
    mmap.mmap(-1, 1 << 20).close()  # shared and anonymous: not in RLIMIT_DATA


@attack
def too_much_memory(scene: Scene) -> None:
    bytearray(int(scene["memory_bytes"]))


@attack
def raise_a_limit(scene: Scene) -> None:
    resource.setrlimit(resource.RLIMIT_DATA, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


@attack
def inherited_secret(scene: Scene) -> None:
    if "LAB_TEST_SECRET" not in os.environ:
        raise PermissionError(errno.EPERM, "the environment is clean")


@attack
def inherited_descriptor(scene: Scene) -> None:
    number = int(scene["descriptor"])
    try:
        os.fstat(number)
    except OSError as problem:
        raise PermissionError(errno.EPERM, "closed") from problem


@attack
def new_user_namespace(scene: Scene) -> None:
    """The last one: where it succeeds, it takes away the rights that others would be tried with."""
    call("unshare", 0x10000000)
