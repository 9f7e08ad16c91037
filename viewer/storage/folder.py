"""A store in a folder.

The order of steps is the promise: bytes are fsynced before they get a name, a name is made by
link() (which never replaces), and the folder that holds the name is fsynced before anybody is
told. So a name, once seen, is a whole file, also after a power cut.
"""

import contextlib
import errno
import fcntl
import os
import stat
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from viewer.failpoint import failpoint
from viewer.storage.store import Missing, Occupied, Stat, Unavailable, check_key

INCOMING = ".incoming"
MARKER = ".viewer-store"  # holds the store's identity: an empty mount point has none
NEW_MARKER = f"{MARKER}.new"  # while it is written

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


class FolderPart:
    """A file in `.incoming/`, locked for as long as its writer lives."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / f"{uuid.uuid4()}.part"
        with in_words():
            _make_folders(folder)
            self.file: BinaryIO = self.path.open("xb+")
            # Death of the process frees the lock: that is how tidy() knows a dead writer's part.
            fcntl.flock(self.file, fcntl.LOCK_EX)

    def write(self, data: bytes | memoryview, /) -> int:
        with in_words():
            return self.file.write(data)

    def seal(self) -> None:
        with in_words():
            self.file.flush()
            os.fchmod(self.file.fileno(), 0o444)  # originals are never written again
            # Once only: after a failed fsync Linux calls the lost pages clean, and a second
            # fsync would succeed without them.
            os.fsync(self.file.fileno())
            self.file.close()
        failpoint("storage.sealed")

    def discard(self) -> None:
        with contextlib.suppress(OSError):  # a failed write may be reported again by close()
            self.file.close()
        with contextlib.suppress(OSError):  # tidy() comes by later
            self.path.unlink(missing_ok=True)


class Folder:
    """Keys are relative paths under `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._expected: str | None = None

    def identity(self) -> str | None:
        """What the marker says; None where there is none."""
        try:
            return (self.root / MARKER).read_text().strip()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise Unavailable("The folder for photos cannot be read.") from error

    def is_empty(self) -> bool:
        return not self.root.exists() or all(
            path.name == NEW_MARKER for path in self.root.iterdir()
        )

    def mark(self, identity: str) -> None:
        """Leave the marker, whole and durably. For an empty folder that becomes a store."""
        with in_words():
            _make_folders(self.root)
            new = self.root / NEW_MARKER
            with new.open("w") as file:
                file.write(identity)
                file.flush()
                os.fsync(file.fileno())
            failpoint("storage.marking")
            os.link(new, self.root / MARKER)  # never in the place of another's
            new.unlink()
            _fsync_folder(self.root)

    def expect(self, identity: str) -> None:
        """From now on take and give nothing where the marker says otherwise."""
        self._expected = identity

    def is_away(self) -> bool:
        """Whether this is not the store we expect: a disk that is not mounted, or another's."""
        return self._expected is not None and self.identity() != self._expected

    def new_part(self) -> FolderPart:
        self._must_be_here()
        return FolderPart(self.root / INCOMING)

    def workplace(self) -> Path:
        self._must_be_here()
        folder = self.root / INCOMING / str(uuid.uuid4())
        with in_words():
            _make_folders(folder)
        return folder

    def place(self, key: str, part: Path) -> None:
        target = self.root / check_key(key)
        with in_words():
            _make_folders(target.parent)
            failpoint("storage.folders")
            try:
                # Not rename(): that would replace what is there.
                os.link(part, target)
            except FileExistsError:
                # Whoever linked it may have died before the fsync below.
                _fsync_folder(target.parent)
                raise Occupied(f"{key} exists already") from None
            failpoint("storage.linked")
            _fsync_folder(target.parent)
        failpoint("storage.placed")

    def settle(self, key: str) -> None:
        # That run may have died between link() and fsync, or between a mkdir() and its fsync.
        folder = (self.root / check_key(key)).parent
        with in_words():
            while folder != self.root.parent:
                _fsync_folder(folder)
                folder = folder.parent

    def open(self, key: str, start: int = 0) -> BinaryIO:
        path = self.root / check_key(key)
        with self._unless_away(), in_words(key):
            # Never through a link somebody put there, never waiting on a pipe.
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                os.close(descriptor)
                raise Missing(f"{key} is not a file")
            file = os.fdopen(descriptor, "rb")
            file.seek(start)
            return file

    def stat(self, key: str) -> Stat:
        with self._unless_away(), in_words(key):
            found = (self.root / check_key(key)).lstat()
        if not stat.S_ISREG(found.st_mode):
            raise Missing(f"{key} is not a file")
        return Stat(size=found.st_size)

    def move(self, key: str, to: str) -> None:
        source, target = self.root / check_key(key), self.root / check_key(to)
        self._must_be_here()
        with in_words(key):
            _make_folders(target.parent)
            try:
                os.link(source, target, follow_symlinks=False)
            except FileExistsError:
                if source.exists() and not source.samefile(target):
                    raise Occupied(f"{to} exists already") from None
            except FileNotFoundError:
                if not target.exists():
                    raise
            _fsync_folder(target.parent)
            failpoint("storage.moving")
            source.unlink(missing_ok=True)
            if source.parent.exists():
                _fsync_folder(source.parent)

    def remove(self, key: str) -> None:
        path = self.root / check_key(key)
        with in_words():
            path.unlink(missing_ok=True)

    def _must_be_here(self) -> None:
        # Else the first photo after a reboot would lie on the root disk, under the mount point.
        if self.is_away():
            raise Unavailable("The disk for photos is not there: is it mounted?")

    @contextlib.contextmanager
    def _unless_away(self) -> Iterator[None]:
        """A file is not lost only because its disk is not mounted."""
        try:
            yield
        except Missing:
            self._must_be_here()
            raise

    def tidy(self, older_than: float) -> int:
        removed, found = 0, []
        # A disk that is read-only or dead must not stop the sweep, which does much else.
        with contextlib.suppress(OSError):
            found = list((self.root / INCOMING).iterdir())
        for path in found:
            with contextlib.suppress(OSError):  # a living writer's lock among them
                if path.stat().st_mtime > time.time() - older_than:
                    continue
                if path.is_dir():  # a place where copies were made
                    _remove_tree(path)
                else:
                    with path.open("rb") as file:
                        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                        path.unlink()
                removed += 1
        return removed


def _make_folders(folder: Path) -> None:
    if folder.is_dir():
        return
    _make_folders(folder.parent)
    # Another worker may make it at the same moment; its parent is fsynced by both.
    with contextlib.suppress(FileExistsError):
        folder.mkdir()
    failpoint("storage.mkdir")
    _fsync_folder(folder.parent)


def _fsync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove_tree(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink(missing_ok=True)
    folder.rmdir()


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
