"""Run a command as confined as a unit of systemd says, where no systemd runs. As root, on Linux.

    python -m tests.deploy.confine UNIT WRITABLE_FOLDER... -- COMMAND...

It uses what systemd uses: read-only mounts in a namespace of its own, no capability, no new
privileges, and the same seccomp filters by the same library. `NOT_HERE` names what is not tried.
"""

import ctypes
import os
import re
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

CLONE_NEWNS = 0x00020000
NAMESPACES = 0x7E020080  # all flags by which clone() makes one
MS_RDONLY, MS_NOSUID, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 1, 2, 32, 4096, 16384, 1 << 18
PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 24, 38
PROT_WRITE, PROT_EXEC = 2, 4
SET_ID = (0o4000, 0o2000)
FAMILIES = {"AF_UNIX": 1, "AF_INET": 2, "AF_INET6": 10}

# libseccomp's own numbers.
ALLOW, EQUAL, MASKED_EQUAL = 0x7FFF0000, 4, 7
EPERM, ENOSYS, EAFNOSUPPORT = (0x00050000 | number for number in (1, 38, 97))

# Of starting and stopping; and what a system without systemd, or a test in /tmp, does not have.
NOT_HERE = {
    "Type", "User", "Group", "EnvironmentFile", "WorkingDirectory", "ExecStart", "KillMode",
    "TimeoutStopSec", "Restart", "RestartSec", "OOMPolicy", "StateDirectory",
    "StateDirectoryMode", "PrivateTmp", "PrivateDevices", "PrivateUsers", "PrivateIPC",
    "PrivateMounts", "RemoveIPC", "ProtectHome", "KeyringMode", "LockPersonality",
    "RestrictRealtime", "ProtectClock", "ProtectHostname", "ProtectKernelLogs",
    "ProtectKernelModules", "DevicePolicy", "SystemCallArchitectures", "SystemCallErrorNumber",
}  # fmt: skip
DONE_HERE = {
    "ReadWritePaths", "ProtectSystem", "ProtectControlGroups", "ProtectKernelTunables",
    "ProtectProc", "ProcSubset", "LimitNOFILE", "LimitCORE", "UMask", "NoNewPrivileges",
    "CapabilityBoundingSet", "AmbientCapabilities", "MemoryDenyWriteExecute",
    "RestrictNamespaces", "RestrictSUIDSGID", "RestrictAddressFamilies", "SystemCallFilter",
}  # fmt: skip


def main(unit: Path, writable: list[Path], command: list[str]) -> None:
    said = read(unit)
    assert set(said) <= NOT_HERE | DONE_HERE, set(said) - NOT_HERE - DONE_HERE
    library = ctypes.CDLL("libseccomp.so.2")  # before /proc and the folders change
    library.seccomp_init.restype = ctypes.c_void_p
    filters = list(_filters(library, said))
    _close_folders(writable)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    most = min(int(said["LimitNOFILE"][0]), resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    os.umask(int(said["UMask"][0], 8))
    for capability in range(64):
        _libc().prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)  # there are fewer: the rest is refused
    _must(_libc().prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    for made in filters:
        _must(library.seccomp_load(made))
    os.execvp(command[0], command)  # noqa: S606 - that is what it is for


def read(unit: Path) -> dict[str, list[str]]:
    """What the unit says of its service; a name may be said several times."""
    found: dict[str, list[str]] = {}
    section = unit.read_text().partition("[Service]\n")[2].partition("\n[")[0]
    for name, value in re.findall(r"^(\w+)=(.*)$", section, re.MULTILINE):
        found.setdefault(name, []).append(value)
    return found


# --- Folders -------------------------------------------------------------------------------


def _close_folders(writable: list[Path]) -> None:
    _must(_libc().unshare(CLONE_NEWNS))
    _mount(None, "/", MS_REC | MS_PRIVATE)
    _mount("proc", "/proc", MS_NOSUID, "proc", "hidepid=invisible,subset=pid")
    for folder in writable:
        _mount(str(folder), str(folder), MS_BIND)
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        place = line.split()[4].encode().decode("unicode_escape")
        if place not in map(str, writable) and not place.startswith(("/proc", "/dev")):
            flags = MS_REMOUNT | MS_BIND | MS_RDONLY
            _libc().mount(None, place.encode(), None, flags, None)  # hidden by another: refused
    os.chdir(writable[0])


def _mount(
    source: str | None, target: str, flags: int, kind: str | None = None, how: str | None = None
) -> None:
    words = [None if word is None else word.encode() for word in (source, target, kind, how)]
    _must(_libc().mount(words[0], words[1], words[2], flags, words[3]))


# --- System calls --------------------------------------------------------------------------


class _Condition(ctypes.Structure):
    _fields_ = [
        ("argument", ctypes.c_uint), ("how", ctypes.c_int),
        ("first", ctypes.c_uint64), ("second", ctypes.c_uint64),
    ]  # fmt: skip


def _filters(library: ctypes.CDLL, said: dict[str, list[str]]) -> Iterator[ctypes.c_void_p]:
    """One of the calls that are allowed, and one of what they may not be asked."""

    def rule(of: ctypes.c_void_p, action: int, name: str, *conditions: tuple[int, ...]) -> None:
        number = library.seccomp_syscall_resolve_name(name.encode())
        if number < 0:  # not on this machine
            return
        array = (_Condition * len(conditions))(*conditions)
        _must(
            library.seccomp_rule_add_array(
                of, ctypes.c_uint32(action), number, len(conditions), array
            )
        )

    allowed = _calls(*said["SystemCallFilter"])
    only = ctypes.c_void_p(library.seccomp_init(ctypes.c_uint32(EPERM)))
    for name in allowed:
        rule(only, ALLOW, name)

    besides = ctypes.c_void_p(library.seccomp_init(ctypes.c_uint32(ALLOW)))
    if said["MemoryDenyWriteExecute"] == ["yes"]:
        both = PROT_WRITE | PROT_EXEC
        rule(besides, EPERM, "mmap", (2, MASKED_EQUAL, both, both))
        for name in ("mprotect", "pkey_mprotect"):
            rule(besides, EPERM, name, (2, MASKED_EQUAL, PROT_EXEC, PROT_EXEC))
    for family in set(range(1, 46)) - {
        FAMILIES[n] for n in said["RestrictAddressFamilies"][0].split()
    }:
        rule(besides, EAFNOSUPPORT, "socket", (0, EQUAL, family, 0))
    if said["RestrictNamespaces"] == ["yes"]:
        rule(besides, ENOSYS, "clone3")  # its flags lie in memory, where no filter looks
        for name in ("unshare", "setns"):
            rule(besides, EPERM, name)
        for flag in (1 << bit for bit in range(32) if NAMESPACES >> bit & 1):
            rule(besides, EPERM, "clone", (0, MASKED_EQUAL, flag, flag))
    if said["RestrictSUIDSGID"] == ["yes"]:
        for bit in SET_ID:
            for name, argument in (("chmod", 1), ("fchmod", 1), ("fchmodat", 2), ("mkdir", 1),
                                   ("mkdirat", 2), ("mknod", 1), ("mknodat", 2)):  # fmt: skip
                rule(besides, EPERM, name, (argument, MASKED_EQUAL, bit, bit))
    yield besides  # first: the other does not allow to load another
    yield only


def _calls(first: str, *others: str) -> set[str]:
    found = _expanded("@default", *first.split())
    for words in others:
        assert words.startswith("~")
        found -= _expanded(*words[1:].split())
    return found


def _expanded(*names: str) -> set[str]:
    """The calls of systemd's groups, as this machine's systemd knows them."""
    found: set[str] = set()
    for name in names:
        if not name.startswith("@"):
            found.add(name)
            continue
        listed = subprocess.run(
            ["systemd-analyze", "--no-pager", "syscall-filter", name],
            check=True, capture_output=True, text=True,
        ).stdout.splitlines()[1:]  # fmt: skip
        found |= _expanded(*(line.strip() for line in listed if line.strip()[:1] not in ("#", "")))
    return found


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _must(result: int) -> None:
    if result < 0:
        number = ctypes.get_errno() or -result
        raise OSError(number, os.strerror(number))


if __name__ == "__main__":
    unit, *rest = sys.argv[1:]
    border = rest.index("--")
    main(Path(unit), [Path(folder) for folder in rest[:border]], rest[border + 1 :])
