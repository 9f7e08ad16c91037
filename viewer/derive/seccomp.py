"""seccomp: the kernel answers this process a short list of system calls, and no others, for ever.

The list is what decoders of every kind of file need, with older and newer C libraries. All else is
refused with EPERM: a library that asks for more than it needs then does without.
"""

import ctypes
import errno
import functools
import itertools
import os
import struct
import sys
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from viewer.derive.libc import checked, libc

# Numbers on x86_64 and on aarch64; None where there is none.
_ALLOWED: dict[str, tuple[int | None, int | None]] = {
    # memory
    "brk": (12, 214),
    "madvise": (28, 233),
    "mmap": (9, 222),
    "mprotect": (10, 226),
    "mremap": (25, 216),
    "munmap": (11, 215),
    # files: which ones, says Landlock
    "access": (21, None),
    "close": (3, 57),
    "dup": (32, 23),
    "faccessat": (269, 48),
    "fadvise64": (221, 223),
    "fstat": (5, 80),
    "fsync": (74, 82),
    "ftruncate": (77, 46),
    "getcwd": (79, 17),
    "getdents64": (217, 61),
    "lseek": (8, 62),
    "lstat": (6, None),
    "newfstatat": (262, 79),
    "open": (2, None),
    "openat": (257, 56),
    "pread64": (17, 67),
    "pwrite64": (18, 68),
    "read": (0, 63),
    "readlink": (89, None),
    "readlinkat": (267, 78),
    "readv": (19, 65),
    "rename": (82, None),
    "renameat": (264, 38),
    "renameat2": (316, 276),
    "stat": (4, None),
    "statx": (332, 291),
    "unlink": (87, None),
    "unlinkat": (263, 35),
    "write": (1, 64),
    "writev": (20, 66),
    # threads
    "exit": (60, 93),
    "exit_group": (231, 94),
    "futex": (202, 98),
    "getcpu": (309, 168),
    "gettid": (186, 178),
    "membarrier": (324, 283),
    "rseq": (334, 293),
    "sched_getaffinity": (204, 123),
    "sched_getparam": (143, 121),
    "sched_getscheduler": (145, 120),
    "sched_yield": (24, 124),
    "set_robust_list": (273, 99),
    # signals, to itself
    "restart_syscall": (219, 128),
    "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139),
    "sigaltstack": (131, 132),
    # time, and what it is
    "clock_getres": (229, 114),
    "clock_gettime": (228, 113),
    "clock_nanosleep": (230, 115),
    "getegid": (108, 177),
    "geteuid": (107, 175),
    "getgid": (104, 176),
    "getpid": (39, 172),
    "getppid": (110, 173),
    "getpriority": (140, 141),
    "getrandom": (318, 278),
    "getrusage": (98, 165),
    "gettimeofday": (96, 169),
    "getuid": (102, 174),
    "nanosleep": (35, 101),
    "sysinfo": (99, 179),
    "time": (201, None),
    "times": (100, 153),
}
# Allowed if the argument at this place is one of these. Else they would let it chmod by ioctl(),
# signal others by F_SETOWN or kill(), be debugged again, or change the limits of others.
_PARTLY: dict[str, tuple[tuple[int, int], int, tuple[int, ...]]] = {
    "fcntl": ((72, 25), 1, (0, 1, 2, 3, 1030)),  # F_DUPFD, F_GETFD, F_SETFD, F_GETFL, …_CLOEXEC
    "ioctl": ((16, 29), 1, (0x5401, 0x5451)),  # TCGETS (isatty), FIOCLEX
    "prctl": ((157, 167), 0, (15, 0x53564D41)),  # PR_SET_NAME, PR_SET_VMA: names for a debugger
    "prlimit64": ((302, 261), 0, (0,)),  # of this process: it can lower them
}
_TO_ITSELF: dict[str, tuple[int, int]] = {"kill": (62, 129), "tgkill": (234, 131)}
_CLONE, _CLONE3 = (56, 220), (435, 435)
_CLONE_THREAD = 0x10000
# What glibc and musl ask for in pthread_create(); no new namespace, and no process.
_CLONE_FLAGS = 0x7D0F00

_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}  # AUDIT_ARCH_…
_MACHINES, _MACHINE = list(_ARCHITECTURES), os.uname().machine
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16  # offsets in struct seccomp_data

_LOAD, _RETURN = 0x20, 0x06  # BPF_LD|BPF_W|BPF_ABS, BPF_RET|BPF_K
_IF_EQUAL, _IF_ANY_BIT = 0x15, 0x45  # BPF_JMP|BPF_JEQ|BPF_K, BPF_JMP|BPF_JSET|BPF_K
_ALLOW, _KILL = 0x7FFF0000, 0x80000000
_REFUSE, _ABSENT = 0x00050000 | errno.EPERM, 0x00050000 | errno.ENOSYS

_STEP = struct.Struct("=HBBI")  # struct sock_filter

_PR_SET_SECCOMP, _MODE_FILTER = 22, 2


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("steps", ctypes.c_char_p)]


class Step(NamedTuple):
    """An instruction; both jumps count the instructions that are left out."""

    code: int
    value: int
    if_true: int = 0
    if_false: int = 0


def is_known() -> bool:
    """Whether the kernel has it, and we know its numbers."""
    if sys.maxsize < 2**32 or _MACHINE not in _MACHINES:
        return False
    # Without a program it is EFAULT; EINVAL where filters are not known.
    libc.prctl(_PR_SET_SECCOMP, _MODE_FILTER, None, 0, 0)
    return ctypes.get_errno() == errno.EFAULT


def restrict() -> None:
    """Answer this process the list alone. Needs no_new_privs, and one thread. Raises OSError."""
    here = _MACHINES.index(_MACHINE)
    to_itself = itertools.chain.from_iterable(
        _if_called(numbers[here], _one_of(0, (os.getpid(),))) for numbers in _TO_ITSELF.values()
    )
    packed = beginning() + _packed(to_itself) + _packed([Step(_RETURN, _REFUSE)])
    program = _Program(len(packed) // _STEP.size, packed)
    # Not by seccomp(): where a service manager's own filter does not allow that, prctl() works.
    checked(libc.prctl(_PR_SET_SECCOMP, _MODE_FILTER, ctypes.byref(program), 0, 0), "seccomp")


@functools.cache
def beginning() -> bytes:
    """What is the same for each process: a zygote makes it for all its children."""
    return _packed(_beginning(_MACHINES.index(_MACHINE)))


def _beginning(here: int) -> Iterator[Step]:
    # 32-bit calls have numbers of their own. Those of x32 have a bit more: none is on the list.
    yield Step(_LOAD, _ARCHITECTURE)
    yield Step(_IF_EQUAL, _ARCHITECTURES[_MACHINE], if_true=1)
    yield Step(_RETURN, _KILL)
    yield Step(_LOAD, _NUMBER)
    for numbers in _ALLOWED.values():
        if (number := numbers[here]) is not None:
            yield from _if_called(number, [Step(_RETURN, _ALLOW)])
    for numbers, place, values in _PARTLY.values():
        yield from _if_called(numbers[here], _one_of(place, values))
    yield from _if_called(_CLONE[here], _a_thread())
    # Its flags lie in memory, where no filter looks: then libraries take clone().
    yield from _if_called(_CLONE3[here], [Step(_RETURN, _ABSENT)])


def _packed(steps: Iterable[Step]) -> bytes:
    return b"".join(_STEP.pack(one.code, one.if_true, one.if_false, one.value) for one in steps)


def _if_called(number: int, steps: Iterable[Step]) -> Iterator[Step]:
    then = list(steps)
    yield Step(_IF_EQUAL, number, if_false=len(then))
    yield from then


def _one_of(place: int, values: tuple[int, ...]) -> Iterator[Step]:
    # The lower half is all that the kernel reads of these arguments: they are ints.
    yield Step(_LOAD, _ARGUMENTS + 8 * place)
    for left, value in reversed(list(enumerate(reversed(values), 1))):
        yield Step(_IF_EQUAL, value, if_true=left)
    yield Step(_RETURN, _REFUSE)
    yield Step(_RETURN, _ALLOW)


def _a_thread() -> Iterator[Step]:
    yield Step(_LOAD, _ARGUMENTS)
    yield Step(_IF_ANY_BIT, ~_CLONE_FLAGS & 0xFFFFFFFF, if_true=1)
    yield Step(_IF_ANY_BIT, _CLONE_THREAD, if_true=1)
    yield Step(_RETURN, _REFUSE)
    yield Step(_RETURN, _ALLOW)
