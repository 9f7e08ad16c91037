"""What store and workspace share on a local disk: durable folders, and OSError as a sentence."""

import contextlib
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
}


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
