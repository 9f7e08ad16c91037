"""Landlock: the kernel lets this process touch the files named here, and no others, for ever.

Of Linux 5.13. What it knows grew since: each kernel is asked for as much as it has (`version`).
"""

import ctypes
import os
from collections.abc import Iterable

from viewer.derive.libc import checked, libc

# The same numbers on every architecture.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION, _PATH_BENEATH = 1, 1  # of what is asked; of a rule

_WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 1, 1 << 2, 1 << 3
_REMOVE_FILE, _MAKE_REG, _TRUNCATE = 1 << 5, 1 << 8, 1 << 14
_READ = _READ_FILE | _READ_DIR
_WRITE = _READ_FILE | _WRITE_FILE | _TRUNCATE | _MAKE_REG | _REMOVE_FILE  # regular files alone

# How many of the rights in files each version knows: the last are REFER, TRUNCATE and IOCTL_DEV.
_FILE_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}
_TCP_RIGHTS = 0b11  # bind, connect; since version 4
_SCOPES = 0b11  # abstract sockets and signals of others; since version 6


class _Ruleset(ctypes.Structure):
    _fields_ = [
        ("file_rights", ctypes.c_uint64),
        ("net_rights", ctypes.c_uint64),
        ("scopes", ctypes.c_uint64),
    ]


class _Rule(ctypes.Structure):
    _pack_ = 1
    _fields_ = [("rights", ctypes.c_uint64), ("folder", ctypes.c_int32)]


def version() -> int:
    """Of the kernel's Landlock; 0 where it has none, or may not be asked."""
    found: int = libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), _VERSION)
    return max(0, found)


def restrict(readable: Iterable[str], writable: str) -> None:
    """Let this process read beneath these folders, and make and remove files in one.

    Nothing is allowed of TCP, of abstract sockets and processes outside, and of executing files.
    Needs no_new_privs. What is open stays open. Raises OSError.
    """
    known = version()
    handled = (1 << _FILE_RIGHTS.get(known, max(_FILE_RIGHTS.values()))) - 1
    wanted = _Ruleset(handled, _TCP_RIGHTS if known >= 4 else 0, _SCOPES if known >= 6 else 0)
    # A kernel that does not know the last fields is content with zeros in them.
    size = ctypes.c_size_t(ctypes.sizeof(wanted))
    ruleset = checked(libc.syscall(_CREATE_RULESET, ctypes.byref(wanted), size, 0), "Landlock")
    try:
        for folder in readable:
            _allow(ruleset, folder, _READ)
        _allow(ruleset, writable, _WRITE & handled)
        checked(libc.syscall(_RESTRICT_SELF, ruleset, 0), "Landlock")
    finally:
        os.close(ruleset)


def _allow(ruleset: int, folder: str, rights: int) -> None:
    opened = os.open(folder, os.O_PATH | os.O_CLOEXEC)
    try:
        rule = ctypes.byref(_Rule(rights, opened))
        checked(libc.syscall(_ADD_RULE, ruleset, _PATH_BENEATH, rule, 0), "Landlock")
    finally:
        os.close(opened)
