"""What code that has taken over a decoder would try: its process is handed the text of this file.

Each probe does the real thing to what `given` names, and returns what it got. Refused, it raises
OSError or MemoryError.
"""

import ctypes
import fcntl
import json  # noqa: F401 (for what is evaluated here)
import mmap
import os
import resource
import signal
import socket
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

Given = dict[str, Any]


# --- read ------------------------------------------------------------------------------------


def read_the_api_key(given: Given) -> object:
    return Path(given["secret"]).read_text()


def read_the_environment_of_the_worker(given: Given) -> object:
    return Path(f"/proc/{given['victim']}/environ").read_text()


def read_the_memory_of_the_worker(given: Given) -> object:
    with Path(f"/proc/{given['victim']}/mem").open("rb", buffering=0) as memory:
        return memory.fileno()


def read_the_database(given: Given) -> object:
    try:
        with sqlite3.connect(f"file:{given['database']}?mode=ro", uri=True) as connection:
            return connection.execute("SELECT name FROM customers").fetchall()
    except sqlite3.OperationalError as error:
        raise PermissionError(str(error)) from error


def read_another_original(given: Given) -> object:
    return len(Path(given["original"]).read_bytes())


def list_the_originals(given: Given) -> object:
    return [path.name for path in Path(given["original"]).parent.iterdir()]


def look_at_the_processes_of_others(_given: Given) -> object:
    return [path.name for path in Path("/proc").iterdir() if path.name.isdigit()]


# --- write -----------------------------------------------------------------------------------


def write_a_file(given: Given) -> object:
    return Path(given["original"]).with_name("planted").write_text("planted")


def alter_another_original(given: Given) -> object:
    with Path(given["original"]).open("r+b") as file:
        return file.write(b"altered")


def delete_an_original(given: Given) -> object:
    Path(given["original"]).unlink()
    return "deleted"


def name_an_original_as_a_copy(given: Given) -> object:
    Path("thumbnail.jpg").hardlink_to(given["original"])
    return "linked"


def leave_a_symlink(given: Given) -> object:
    Path("preview.jpg").symlink_to(given["original"])
    return "linked"


def change_the_rights_of_the_source(_given: Given) -> object:
    os.fchmod(0, 0o777)
    return "changed"


def change_the_flags_of_the_source(_given: Given) -> object:
    return fcntl.ioctl(0, 0x80086601, bytes(8))  # FS_IOC_GETFLAGS; to set them is no harder


# --- reach -----------------------------------------------------------------------------------


def connect_over_tcp(given: Given) -> object:
    with socket.create_connection(("127.0.0.1", given["port"]), timeout=5) as connection:
        return connection.getpeername()


def connect_to_a_unix_socket(given: Given) -> object:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(given["socket"])
        return "connected"


def connect_to_an_abstract_socket(given: Given) -> object:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect("\0" + given["abstract"])
        return "connected"


def send_a_datagram(given: Given) -> object:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        return sender.sendto(b"photo", ("127.0.0.1", given["port"]))


def open_a_raw_socket(_given: Given) -> object:
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as opened:
        return opened.fileno()


def make_a_pair_of_sockets(_given: Given) -> object:
    return [one.fileno() for one in socket.socketpair()]


# --- run and signal --------------------------------------------------------------------------


def run_a_program(_given: Given) -> object:
    os.execv("/bin/echo", ["echo", '{"camera": "done: echo"}'])  # noqa: S606 (so that nobody else answers)


def fork(_given: Given) -> object:
    if (pid := os.fork()) == 0:
        os._exit(0)
    return os.waitpid(pid, 0)


def bomb_with_forks(_given: Given) -> object:
    for _ in range(4):  # to 16 processes; a real one does not stop there
        os.fork()
    return "forked"


def bomb_the_memory(_given: Given) -> object:
    return len(mmap.mmap(-1, 4 * 1024**3))


def signal_the_worker(given: Given) -> object:
    os.kill(given["victim"], signal.SIGWINCH)  # which it ignores
    return "sent"


def signal_everybody(given: Given) -> object:
    os.killpg(given["victim"], signal.SIGWINCH)
    return "sent"


def signal_by_descriptor(given: Given) -> object:
    fcntl.fcntl(0, fcntl.F_SETOWN, given["victim"])  # of SIGIO, or any other by F_SETSIG
    return "sent"


def trace_the_worker(given: Given) -> object:
    libc = ctypes.CDLL(None, use_errno=True)
    ptrace_seize = 0x4206  # which does not stop it
    if libc.ptrace(ptrace_seize, given["victim"], 0, 0) == -1:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return "traced"


def slow_everybody_down(_given: Given) -> object:
    os.setpriority(os.PRIO_USER, os.getuid(), os.getpriority(os.PRIO_USER, os.getuid()))
    return "slowed"


def raise_its_own_limits(_given: Given) -> object:
    resource.setrlimit(resource.RLIMIT_CPU, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    return "raised"


def be_debugged_by_others(_given: Given) -> object:
    if ctypes.CDLL(None).prctl(4, 1, 0, 0, 0) == -1:  # PR_SET_DUMPABLE
        raise OSError(1, os.strerror(1))
    return "dumpable"


# --- the kernel ------------------------------------------------------------------------------

# Numbers on x86_64 and on aarch64; arguments with which root gets anything but EPERM.
SYSTEM_CALLS: dict[str, tuple[int, int, tuple[object, ...]]] = {
    "add_key": (248, 217, (b"user", b"probe", b"x", 1, -2)),
    "request_key": (249, 218, (b"user", b"no such key", None, -2)),
    "keyctl": (250, 219, (0, -2, 1)),
    "io_uring_setup": (425, 425, (1, None)),
    "userfaultfd": (323, 282, (0xFFFF,)),
    "bpf": (321, 280, (-1, None, 0)),
    "perf_event_open": (298, 241, (None, 0, -1, -1, 0)),
    "mount": (165, 40, (None, b"/no such place", None, 0, None)),
    "open_tree": (428, 428, (-100, b"/no such place", 0)),
    "pivot_root": (155, 41, (b"/no such place", b"/no such place")),
    "chroot": (161, 51, (b"/no such place",)),
    "unshare": (272, 97, (0,)),
    "setns": (308, 268, (-1, 0)),
    "process_vm_readv": (310, 270, (0, None, 0, None, 0, 0)),
    "process_vm_writev": (311, 271, (0, None, 0, None, 0, 0)),
    "pidfd_open": (434, 434, (1, 0)),
    "pidfd_getfd": (438, 438, (-1, 0, 0)),
    "name_to_handle_at": (303, 264, (-100, b"/no such place", None, None, 0)),
    "open_by_handle_at": (304, 265, (-100, None, 0)),
    "memfd_create": (319, 279, (b"probe", 0)),
    "execveat": (322, 281, (-1, b"", None, None, 0x1000)),
    "init_module": (175, 105, (None, 0, b"")),
    "kexec_load": (246, 104, (0, 0, None, -1)),
    "setuid": (105, 146, (0,)),
    "truncate": (76, 45, (b"/no such place", 0)),
    "mknodat": (259, 33, (-100, b"/no such place/x", 0o600, 0)),
    "fchownat": (260, 54, (-100, b"/no such place", 0, 0, 0)),
    "utimensat": (280, 88, (-100, b"/no such place", None, 0)),
    "fsetxattr": (190, 7, (0, b"user.probe", b"x", 1, 0)),
    "flock": (73, 32, (0, 8)),
    "inotify_init1": (294, 26, (0,)),
    "fanotify_init": (300, 262, (-1, 0)),
    "syslog": (103, 116, (-1, None, 0)),
    "personality": (135, 92, (0xFFFFFFFF,)),
    "shmget": (29, 194, (0, 4096, 0o600)),
    "msgget": (68, 186, (0, 0o600)),
    "mq_open": (240, 180, (b"probe", 0, 0, None)),
    "clone3": (435, 435, (None, 0)),
    "landlock_create_ruleset": (444, 444, (None, 0, 1)),
    "seccomp": (317, 277, (2, 0, None)),
    "getpid of x32": (0x40000000 | 39, 0x40000000 | 172, ()),
}


def call_the_kernel(machine: str) -> dict[str, int]:
    """Each of SYSTEM_CALLS: its errno, 0 if it was done."""
    libc, said = ctypes.CDLL(None, use_errno=True), {}
    for name, (*numbers, arguments) in SYSTEM_CALLS.items():
        words = [ctypes.c_long(one) if isinstance(one, int) else one for one in arguments]
        ctypes.set_errno(0)
        libc.syscall(numbers[machine == "aarch64"], *words)
        said[name] = ctypes.get_errno()
    return said


def call_as_32_bit() -> int:
    """getpid() by the numbers of i386, which a filter for x86_64 would take for writev()."""
    code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    code.write(
        b"\x53\xb8\x14\x00\x00\x00\xcd\x80\x5b\xc3"
    )  # push rbx; mov eax,20; int 0x80; pop; ret
    return ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(code)))()


PROBES: dict[str, Callable[[Given], object]] = {
    one.__name__: one
    for one in (
        read_the_api_key, read_the_environment_of_the_worker, read_the_memory_of_the_worker,
        read_the_database, read_another_original, list_the_originals,
        look_at_the_processes_of_others, write_a_file, alter_another_original,
        delete_an_original, name_an_original_as_a_copy, leave_a_symlink,
        change_the_rights_of_the_source, change_the_flags_of_the_source, connect_over_tcp,
        connect_to_a_unix_socket, connect_to_an_abstract_socket, send_a_datagram,
        open_a_raw_socket, make_a_pair_of_sockets, run_a_program,
        fork, bomb_with_forks, bomb_the_memory, signal_the_worker, signal_everybody,
        signal_by_descriptor, trace_the_worker, slow_everybody_down, raise_its_own_limits,
        be_debugged_by_others,
    )
}  # fmt: skip


def attempt(name: str, given: Given) -> str:
    """What came of it, as one line."""
    try:
        return f"done: {PROBES[name](given)!r:.200}"
    except (OSError, MemoryError, ValueError) as error:  # ValueError: by Python's `resource`
        return f"refused: {error!r:.200}"
