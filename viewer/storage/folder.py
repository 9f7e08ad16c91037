"""A store in a folder.

The order of steps is the promise: bytes are fsynced before they get a name, a name is made by
link() or a rename, neither of which replaces another, and the folder that holds the name is fsynced
before anybody is told. So a name, once seen, is a whole file, also after a power cut.
"""

import contextlib
import errno
import io
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

from viewer.failpoint import failpoint
from viewer.storage import disk
from viewer.storage.disk import in_words
from viewer.storage.keys import check_key, is_key
from viewer.storage.store import MARKER, Missing, Occupied, Stat, Unavailable, must_be_here


class FolderFile(io.BufferedIOBase):
    """Bytes of a file, which stays whole while it is read, whatever becomes of its name."""

    def __init__(self, file: BinaryIO, size: int, length: int) -> None:
        self.size = size
        self._file = file
        self._left = length

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1, /) -> bytes:
        wanted = self._left if size is None or size < 0 else min(size, self._left)
        with in_words():
            found = self._file.read(wanted)
        self._left -= len(found)
        return found

    def fileno(self) -> int:
        return self._file.fileno()

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Only for `socket.sendfile`, which goes where it begins and where it stopped."""
        return self._file.seek(offset, whence)

    def close(self) -> None:
        self._file.close()
        super().close()


class Folder:
    """Keys are relative paths under `root`."""

    def __init__(self, root: Path, internal_location: str = "", marker: str = MARKER) -> None:
        self.root = root
        self._marker = marker
        self._new_marker = f"{marker}.new"  # while it is written
        self._internal_location = internal_location.rstrip("/")
        self._expected: str | None = None

    @property
    def address(self) -> str:
        return str(self.root)

    # --- Whose it is -----------------------------------------------------------------------

    def identity(self) -> str | None:
        try:
            with in_words(self._marker):
                return (self.root / self._marker).read_text().strip()
        except Missing:
            return None

    def is_empty(self) -> bool:
        with in_words():
            return not self.root.exists() or all(
                path.name == self._new_marker for path in self.root.iterdir()
            )

    def mark(self, identity: str) -> None:
        with in_words():
            disk.make_folders(self.root)
            new = self.root / self._new_marker
            with new.open("w") as file:
                file.write(identity)
                file.flush()
                os.fsync(file.fileno())
            failpoint("storage.marking")
            disk.name_file(new, self.root / self._marker)  # never in the place of another's
            new.unlink(missing_ok=True)
            disk.fsync_folder(self.root)

    def expect(self, identity: str) -> None:
        self._expected = identity

    def why_away(self) -> str | None:
        try:
            found = self.identity()
        except Unavailable as trouble:
            return str(trouble)
        if found == self._expected:
            return None
        if found is None:
            return "The disk for photos is not there: is it mounted?"
        return "The folder for photos belongs to another database."

    def is_away(self) -> bool:
        return self.why_away() is not None

    # --- Files -----------------------------------------------------------------------------

    def place(self, key: str, part: Path) -> None:
        target = self.root / check_key(key)
        must_be_here(self)
        with in_words():
            disk.make_folders(target.parent)
            failpoint("storage.folders")
            try:
                disk.name_file(part, target)
            except FileExistsError:
                # Whoever linked it may have died before the fsync below.
                disk.fsync_folder(target.parent)
                raise Occupied(f"{key} exists already") from None
            failpoint("storage.linked")
            disk.fsync_folder(target.parent)
        failpoint("storage.placed")

    def settle(self, key: str) -> None:
        # That run may have died between link() and fsync, or between a mkdir() and its fsync.
        folder = (self.root / check_key(key)).parent
        with in_words():
            while folder != self.root.parent:
                disk.fsync_folder(folder)
                folder = folder.parent

    def open(self, key: str, start: int = 0, length: int | None = None) -> FolderFile:
        path = self.root / check_key(key)
        with self._proven(), in_words(key):
            # Never through a link somebody put there, never waiting on a pipe.
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                os.close(descriptor)
                raise Missing(f"{key} is not a file")
            file = os.fdopen(descriptor, "rb")
            file.seek(start)
        left = max(0, found.st_size - start)
        opened = FolderFile(file, found.st_size, left if length is None else min(length, left))
        # A copy of this database's files that belongs to another has such a key, too.
        with contextlib.ExitStack() as unless_here:
            unless_here.callback(opened.close)
            must_be_here(self)
            unless_here.pop_all()
        return opened

    def stat(self, key: str) -> Stat:
        with self._proven(), in_words(key):
            found = (self.root / check_key(key)).lstat()
        if not stat.S_ISREG(found.st_mode):
            raise Missing(f"{key} is not a file")
        return Stat(size=found.st_size)

    def keys(self, prefix: str = "") -> Iterator[tuple[str, int]]:
        folder = prefix.rpartition("/")[0]
        if folder:
            check_key(folder)
        must_be_here(self)
        waiting = [folder]
        while waiting:
            files, folders = self._list(waiting.pop())
            waiting += folders
            yield from (file for file in files if file[0].startswith(prefix))
        must_be_here(self)  # else half a list would look like a whole one

    def _list(self, folder: str) -> tuple[list[tuple[str, int]], list[str]]:
        """The files in one folder, with their sizes, and the folders in it.

        So sorted that `keys` is nearly in order: millions of keys go into a table many times
        faster that way.
        """
        files: list[tuple[str, int]] = []
        folders: list[str] = []
        before = f"{folder}/" if folder else ""
        with (
            contextlib.suppress(Missing),
            in_words(folder),
            os.scandir(self.root / folder) as found,
        ):
            for entry in found:
                key = f"{before}{entry.name}"
                if not is_key(key):  # the marker, parts, what somebody else put there
                    continue
                if entry.is_dir(follow_symlinks=False):
                    folders.append(key)
                elif entry.is_file(follow_symlinks=False):
                    with contextlib.suppress(FileNotFoundError):
                        files.append((key, entry.stat(follow_symlinks=False).st_size))
        return sorted(files), sorted(folders, reverse=True)  # the last one is walked next

    def move(self, key: str, to: str) -> None:
        source, target = self.root / check_key(key), self.root / check_key(to)
        must_be_here(self)
        with in_words(key):
            disk.make_folders(target.parent)
            try:
                disk.name_file(source, target)
            except FileExistsError:
                if source.exists() and not source.samefile(target):
                    raise Occupied(f"{to} exists already") from None
            except FileNotFoundError:
                if not target.exists():
                    raise
            disk.fsync_folder(target.parent)
            failpoint("storage.moving")
            source.unlink(missing_ok=True)
            if source.parent.exists():
                disk.fsync_folder(source.parent)

    def remove(self, key: str) -> None:
        path = self.root / check_key(key)
        must_be_here(self)
        with in_words():
            path.unlink(missing_ok=True)

    def erase(self, key: str) -> bool:
        path = self.root / check_key(key)
        must_be_here(self)
        with in_words():
            path.unlink(missing_ok=True)
            failpoint("storage.erased")
            for folder in path.parents:
                # Their names tell whose files they were. Whoever places a file here just now makes
                # the folder anew at the next try.
                if folder == self.root or not _remove_if_empty(folder):
                    break
        return True

    def local_path(self, key: str) -> Path:
        return self.root / check_key(key)

    def handoff(self, key: str) -> str | None:
        if not self._internal_location:
            return None
        return f"{self._internal_location}/{quote(check_key(key))}"

    def signed_address(self, key: str, overrides: Mapping[str, str]) -> str | None:
        check_key(key)
        return None

    def glance(self, key: str) -> int:
        with self.open(key) as file:  # unlike stat(), it asks whose folder this is
            return file.size

    @contextlib.contextmanager
    def _proven(self) -> Iterator[None]:
        """A file is not lost only because its disk is not mounted."""
        try:
            yield
        except Missing:
            must_be_here(self)
            # Nothing is expected before the first start: then an empty folder proves nothing.
            if self._expected is None and self.is_empty():
                raise Unavailable("The folder for photos is empty: is its disk mounted?") from None
            raise


def _remove_if_empty(folder: Path) -> bool:
    """Whether it is gone."""
    try:
        folder.rmdir()
    except FileNotFoundError:
        return True
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            return False
        raise
    if folder.parent.exists():
        disk.fsync_folder(folder.parent)
    return True
