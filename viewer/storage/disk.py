"""What store and workspace share on a local disk: durable folders, names that replace no other,
and OSError as a sentence.
"""

import contextlib
import ctypes
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from viewer.failpoint import failpoint
from viewer.storage.store import Missing, Unavailable

_WORDS = {
    errno.ENOSPC: "The disk for photos is full.",
    errno.EDQUOT: "The disk for photos is full (quota).",
    errno.EROFS: "The disk for photos is read-only.",
    errno.EIO: "The disk for photos reports errors.",
    errno.EACCES: "The folder for photos must not be written to.",
    errno.EPERM: "The folder for photos must not be written to.",
    errno.EMFILE: "Too many files are open.",
    errno.ENFILE: "Too many files are open.",
    errno.EFBIG: "The file is larger than this process may write.",
    errno.EOPNOTSUPP: "The file system cannot name a file without replacing another.",
}

# What link() answers where there are no hard links: on exFAT, on some network shares.
_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP)
_AT_FDCWD, _RENAME_NOREPLACE = -100, 1
_renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)  # not in every libc


@contextlib.contextmanager
def in_words(key: str | None = None) -> Iterator[None]:
    """An OSError ends here, as a sentence."""
    try:
        yield
    except OSError as error:
        if key is not None and error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            raise Missing(f"{key} is not there") from None
        words = _WORDS.get(error.errno or 0, f"The disk for photos failed ({error.strerror}).")
        raise Unavailable(words) from error


def make_folders(folder: Path) -> None:
    """Like mkdir -p, each new folder fsynced into its parent."""
    if folder.is_dir():
        return
    make_folders(folder.parent)
    # Another worker may make it at the same moment; its parent is fsynced by both.
    with contextlib.suppress(FileExistsError):
        folder.mkdir()
    failpoint("storage.mkdir")
    fsync_folder(folder.parent)


def name_file(file: Path, target: Path) -> None:
    """Give a finished file this name in one step that never replaces another file.

    Where there are no hard links it is renamed, and its old name is gone. Raises FileExistsError,
    OSError.
    """
    try:
        os.link(file, target, follow_symlinks=False)
    except OSError as error:
        # A folder has no second name anywhere: that says nothing about the file system.
        if error.errno not in _NO_LINKS or file.is_dir():
            raise
        _rename(file, target)


def _rename(file: Path, target: Path) -> None:
    if _renameat2 is None:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP), str(target))
    names = os.fsencode(file), os.fsencode(target)
    if _renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_NOREPLACE):
        reason = ctypes.get_errno()
        if reason in (errno.EINVAL, errno.ENOSYS):  # no such rename there
            reason = errno.EOPNOTSUPP
        raise OSError(reason, os.strerror(reason), str(target))


def fsync_folder(folder: Path) -> None:
    """Make the names in a folder durable. Raises OSError."""
    _fsync(folder, os.O_DIRECTORY)


def fsync_file(file: Path) -> None:
    """Make the bytes of a finished file durable. Raises OSError."""
    _fsync(file)


def _fsync(path: Path, flags: int = 0) -> None:
    descriptor = os.open(path, os.O_RDONLY | flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
