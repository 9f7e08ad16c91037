"""The folder of an export: whose it is, the links in it, and its one manifest.

    .viewer-export            which viewer's it is; locked by a running export
    schema.json               the JSON Schema of a line
    manifest-<sha256>.jsonl   named by its own checksum
    manifest.jsonl            leads to it, and is changed last: whoever reads it finds all of it
    originals/3f/<id>.jpg     hard links, if asked for

One that was killed is completed by the next: what is right stays, links that no line names go last.
"""

import contextlib
import errno
import fcntl
import json
import os
import re
import shutil
import uuid
from collections.abc import Callable, Iterator
from itertools import groupby
from pathlib import Path

from viewer.config import Settings
from viewer.storage import checksum, fsync_file, fsync_folder

MARKER = ".viewer-export"
POINTER = "manifest.jsonl"
SCHEMA = "schema.json"
LINKS = "originals"

_PART = ".manifest.part"
_NEW = ".new"  # what is about to take the place of another file
_MANIFEST = re.compile(r"manifest-[0-9a-f]{64}\.jsonl")
_LINK = re.compile(r"\.?[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\.[A-Za-z0-9]+(\.new)?")

_OTHER_DISK = (
    "It is on another file system than the photos, where no hard link leads. Choose a folder beside"
    " them, or leave out --links: the manifest then names the address of each original."
)
_NO_RIGHT = "Hard links must be made by the user that owns the photos."
_WORDS = {errno.EXDEV: _OTHER_DISK, errno.EPERM: _NO_RIGHT, errno.EACCES: _NO_RIGHT}


# Whether the row with this id has its original in this host's folder, or should have.
IsNeeded = Callable[[uuid.UUID], bool]


class CannotExport(Exception):
    """Nothing was exported. The message says why."""


class Folder:
    """A folder that holds one export, and belongs to this run."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def part(self) -> Path:
        """The manifest while it is written."""
        return self.root / _PART

    # --- Links ---

    def link(self, source: Path, name: str, sha256: str) -> str | None:
        """Link an original under this name. Its path, relative to the manifest. Idempotent.

        None if it is not there, or not what it was: an earlier link then stays, as it may be the
        last one of the right bytes. Raises CannotExport.
        """
        path = f"{LINKS}/{name[:2]}/{name}"
        target = self.root / path
        try:
            with contextlib.suppress(FileExistsError):
                _make_link(source, target)
                return path
            if not target.samefile(source):  # the original was repaired since: that is another file
                if checksum(source.open("rb")).sha256 != sha256:
                    return None
                new = target.with_name(f".{name}{_NEW}")
                new.unlink(missing_ok=True)
                os.link(source, new, follow_symlinks=False)
                new.replace(target)
        except FileNotFoundError:
            return None
        except OSError as trouble:
            words = _WORDS.get(trouble.errno or 0, f"{trouble.strerror}.")
            raise CannotExport(f"{self.root}: {words}") from trouble
        return path

    # --- Manifest ---

    def publish(self, sha256: str, schema: str) -> str:
        """Let the finished part be the manifest. Its name. Raises OSError."""
        name = f"manifest-{sha256}.jsonl"
        self._make_links_durable()
        if not _is(self.root / SCHEMA, schema.encode()):
            self._write(SCHEMA, schema.encode())
        if not _has_checksum(self.root / name, sha256):
            fsync_file(self.part)
            self.part.replace(self.root / name)
            fsync_folder(self.root)
        if not _has_checksum(self.root / POINTER, sha256):
            self._point_to(name)
        return name

    def discard_part(self) -> None:
        self.part.unlink(missing_ok=True)

    def _write(self, name: str, content: bytes) -> None:
        new = self._new(name)
        new.write_bytes(content)
        fsync_file(new)
        new.replace(self.root / name)

    def _point_to(self, name: str) -> None:
        new = self._new(POINTER)
        new.unlink(missing_ok=True)
        try:
            new.symlink_to(name)
        except OSError:  # exFAT has no symbolic links
            shutil.copyfile(self.root / name, new)
            fsync_file(new)
        new.replace(self.root / POINTER)
        fsync_folder(self.root)

    def _new(self, name: str) -> Path:
        return self.root / f".{name}{_NEW}"

    # --- What is left of others ---

    def remove_others(self, manifest: str, is_needed: IsNeeded) -> list[str]:
        """Remove earlier manifests, what a killed run left, and links that no line names.

        Not a link that is the last name of its file while its row needs that: the paths of these.
        """
        for name in (SCHEMA, POINTER):
            self._new(name).unlink(missing_ok=True)
        for path in self.root.iterdir():
            if _MANIFEST.fullmatch(path.name) and path.name != manifest:
                path.unlink()
        folders, left = self._folders(), list[Path]()
        if not folders:
            return []
        named = groupby(self._named(self.root / manifest), key=lambda name: name[:2])
        at, names = next(named, ("", iter(())))
        for folder in folders:
            while at and at < folder.name:
                at, names = next(named, ("", iter(())))
            left += _keep_only(folder, set(names) if at == folder.name else set(), is_needed)
        with contextlib.suppress(OSError):  # something else is in it
            (self.root / LINKS).rmdir()
        return [str(path.relative_to(self.root)) for path in left]

    def _named(self, manifest: Path) -> Iterator[str]:
        """The names of the links, in their order, which is that of the ids."""
        with manifest.open() as lines:
            for line in lines:
                head, _, name = json.loads(line)["address"].rpartition("/")
                if head.partition("/")[0] == LINKS:
                    yield name

    def _folders(self) -> list[Path]:
        links = self.root / LINKS
        return sorted(path for path in links.iterdir() if path.is_dir()) if links.is_dir() else []

    def _make_links_durable(self) -> None:
        folders = self._folders()
        for folder in folders:
            fsync_folder(folder)
        if folders:
            fsync_folder(self.root / LINKS)


@contextlib.contextmanager
def opened(path: Path, viewer: str, found: Settings) -> Iterator[Folder]:
    """The folder at this path, made if there is none, for this run alone. Raises CannotExport.

    `viewer`: the identity that its marker must have.
    """
    root = path.expanduser().absolute()
    for name, ours in (("MEDIA_ROOT", found.media_root), ("DATA_DIR", found.data_dir)):
        if root.resolve().is_relative_to(ours.resolve()):
            raise CannotExport(f"{root} is in {name}: name a folder elsewhere.")
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)  # customers' photos: for this user
        _claim(root, viewer)
        with (root / MARKER).open("rb") as marker:
            try:
                fcntl.flock(marker, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise CannotExport(f"Another export to {root} is running.") from None
            yield Folder(root)
    except OSError as trouble:
        raise CannotExport(f"{root}: {trouble.strerror}.") from trouble


def _claim(root: Path, viewer: str) -> None:
    marker = root / MARKER
    new = root / f"{MARKER}{_NEW}"
    if not marker.exists():
        if any(path != new for path in root.iterdir()):
            raise CannotExport(f"{root} holds something else: name a new or an empty folder.")
        new.write_text(viewer)
        fsync_file(new)
        new.replace(marker)
        fsync_folder(root)
    if marker.read_text() != viewer:
        raise CannotExport(f"{root} holds the export of another viewer.")


def _make_link(source: Path, target: Path) -> None:
    try:
        os.link(source, target, follow_symlinks=False)
    except FileNotFoundError:
        target.parent.mkdir(parents=True, exist_ok=True)
        os.link(source, target, follow_symlinks=False)


def _keep_only(folder: Path, names: set[str], is_needed: IsNeeded) -> list[Path]:
    left = []
    for path in folder.iterdir():
        if path.name in names or not _LINK.fullmatch(path.name):
            continue
        if path.lstat().st_nlink == 1 and is_needed(uuid.UUID(path.name.lstrip(".")[:36])):
            left.append(path)
        else:
            path.unlink()
    with contextlib.suppress(OSError):  # it is not empty
        folder.rmdir()
    return left


def _is(path: Path, content: bytes) -> bool:
    return path.is_file() and path.read_bytes() == content


def _has_checksum(path: Path, sha256: str) -> bool:
    return path.is_file() and checksum(path.open("rb")).sha256 == sha256
