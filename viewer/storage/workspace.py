"""Files on their way in: parts that are still written, and folders in which decoders work.

Always on a local disk, and on the same device as a store in a folder: a finished file gets its name
by a hard link.
"""

import contextlib
import fcntl
import os
import shutil
import stat
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Protocol

from viewer.failpoint import failpoint
from viewer.storage.disk import fsync_file, in_words, make_folders
from viewer.storage.store import Opened, Store, must_be_here

INCOMING = ".incoming"
_CHUNK = 1024 * 1024  # bytes
_KEPT, _NOTE = ".kept", ".note"  # an unfinished part that may be resumed, and what is known of it
MOST_KEPT = 20  # unfinished parts; further ones are downloaded from the start


class Part(Protocol):
    """A file on its way in. Nobody sees it under a key until it is placed."""

    path: Path

    def write(self, data: bytes | memoryview, /) -> int:
        """Append; how many bytes were taken. Raises Unavailable."""
        ...

    def read_back(self) -> Iterator[bytes]:
        """What is in it; afterwards it is at its end. Raises Unavailable."""
        ...

    def clear(self) -> None:
        """Make it empty. Raises Unavailable."""

    def seal(self) -> None:
        """Make its bytes durable and close it. Raises Unavailable; then throw the part away."""

    def head(self, size: int) -> bytes:
        """The first bytes of a sealed part. Raises Unavailable."""
        ...

    def discard(self) -> None:
        """Forget it. Idempotent."""


class Spool(Protocol):
    """The local folder that every file passes on its way into a store."""

    def new_part(self) -> Part:
        """An empty file on its way in. Raises Unavailable."""
        ...

    def keep(self, part: Part, name: str, note: str) -> None:
        """Keep an unfinished part for `resume`, until `tidy` removes it. Raises Unavailable."""

    def resume(self, name: str) -> tuple[Part, str] | None:
        """The part that was kept under this name, with its note. Raises Unavailable.

        It is given once, and not made durable: verify its bytes.
        """
        ...

    def decoder_folder(self) -> Path:
        """An empty folder for derivatives to be made in. Raises Unavailable."""
        ...

    def tidy(self, older_than: float) -> int:
        """Clear away what dead writers left so many seconds ago. How many there were."""
        ...


class FilePart:
    """A file in the workspace, locked for as long as its writer lives."""

    def __init__(self, folder: Path, resumed: Path | None = None) -> None:
        self.path = resumed or folder / f"{uuid.uuid4()}.part"
        with in_words():
            make_folders(folder)
            self.file: BinaryIO = self.path.open("rb+" if resumed else "xb+")
            # Death of the process frees the lock: that is how tidy() knows a dead writer's part.
            fcntl.flock(self.file, fcntl.LOCK_EX)

    def write(self, data: bytes | memoryview, /) -> int:
        with in_words():
            return self.file.write(data)

    def read_back(self) -> Iterator[bytes]:
        with in_words():
            self.file.seek(0)
            while chunk := self.file.read(_CHUNK):
                yield chunk

    def clear(self) -> None:
        with in_words():
            self.file.seek(0)
            self.file.truncate()

    def seal(self) -> None:
        with in_words():
            self.file.flush()
            # Originals are never written again. Whoever may read the folder may read its files:
            # by that nginx is let in, and others are kept out.
            readers = self.path.parent.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH)
            os.fchmod(self.file.fileno(), stat.S_IRUSR | readers)
            # Once only: after a failed fsync Linux calls the lost pages clean, and a second
            # fsync would succeed without them.
            os.fsync(self.file.fileno())
            self.file.close()
        failpoint("storage.sealed")

    def head(self, size: int) -> bytes:
        with in_words(), self.path.open("rb") as file:
            return file.read(size)

    def discard(self) -> None:
        with contextlib.suppress(OSError):  # a failed write may be reported again by close()
            self.file.close()
        with contextlib.suppress(OSError):  # tidy() comes by later
            self.path.unlink(missing_ok=True)


class Workspace:
    """`.incoming/` in the media folder."""

    def __init__(self, root: Path, store: Store) -> None:
        self.folder = root / INCOMING
        self._store = store

    def new_part(self) -> FilePart:
        # Else the first photo after a reboot would lie on the root disk, under the mount point.
        must_be_here(self._store)
        return FilePart(self.folder)

    def keep(self, part: Part, name: str, note: str) -> None:
        assert isinstance(part, FilePart)  # noqa: S101 - of ours
        kept = self.folder / f"{name}{_KEPT}"
        with in_words():
            if sum(1 for _ in self.folder.glob(f"*{_KEPT}")) >= MOST_KEPT:
                return
            part.file.close()
            kept.with_suffix(_NOTE).write_text(note)
            part.path.rename(kept)

    def resume(self, name: str) -> tuple[Part, str] | None:
        must_be_here(self._store)
        kept = self.folder / f"{name}{_KEPT}"
        try:
            note = kept.with_suffix(_NOTE).read_text()
            part = self.folder / f"{uuid.uuid4()}.part"
            kept.rename(part)  # so nobody else resumes it
        except OSError:
            return None
        with contextlib.suppress(OSError):
            kept.with_suffix(_NOTE).unlink()
        return FilePart(self.folder, part), note

    def decoder_folder(self) -> Path:
        must_be_here(self._store)
        made = self.folder / str(uuid.uuid4())
        with in_words():
            make_folders(made)
        return made

    def tidy(self, older_than: float) -> int:
        removed, found = 0, []
        # A disk that is read-only or dead must not stop the sweep, which does much else.
        with contextlib.suppress(OSError):
            found = list(self.folder.iterdir())
        for path in found:
            with contextlib.suppress(OSError):  # a living writer's lock among them
                if path.stat().st_mtime > time.time() - older_than:
                    continue
                if path.is_dir():  # a decoder's
                    _remove_tree(path)
                else:
                    with path.open("rb") as file:
                        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                        path.unlink()
                removed += 1
        return removed


@contextlib.contextmanager
def decoder_workspace(spool: Spool, opened: Opened | BinaryIO) -> Iterator[tuple[Path, Path]]:
    """A copy of an opened file for a decoder to read, and a folder for it to write into.

    The decoder's process never sees the original itself: not even one that was taken over can
    reach it. Closes the file. Raises Unavailable.
    """
    with contextlib.ExitStack() as leaving:
        with opened as original:
            folder = spool.decoder_folder()
            leaving.callback(shutil.rmtree, folder, ignore_errors=True)
            source = folder / "original"
            with in_words(), source.open("xb") as copy:
                shutil.copyfileobj(original, copy, _CHUNK)
        yield source, folder


def make_durable(file: Path) -> None:
    """Fsync a finished file, before it is placed. Raises Unavailable."""
    with in_words():
        fsync_file(file)


def _remove_tree(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink(missing_ok=True)
    folder.rmdir()
