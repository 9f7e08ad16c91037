"""A folder gives a name only to whole, durable files, and never replaces one."""

import errno
import io
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.stored_files import place
from viewer.storage import Missing, Part, Stat, Unavailable, Workspace
from viewer.storage.folder import Folder

KEY = "2025/01/15/617-555-0123/messages/1736977200_photo.jpg"


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "media")


def new_part(folder: Folder) -> Part:
    return Workspace(folder.root, folder).new_part()


def put(folder: Folder, content: bytes, key: str = KEY) -> None:
    place(content, key, Workspace(folder.root, folder), folder)


def read(folder: Folder, key: str = KEY, start: int = 0) -> bytes:
    with folder.open(key, start) as file:
        return file.read()


def test_what_was_placed_is_there_and_nothing_else(folder):
    put(folder, b"crack")

    assert read(folder) == b"crack"
    assert read(folder, start=2) == b"ack"
    assert folder.stat(KEY) == Stat(size=5)
    assert [path for path in folder.root.rglob("*") if path.is_file()] == [folder.root / KEY]


@pytest.mark.parametrize("way", ["sendfile", "send"])
def test_the_kernel_sends_as_much_as_was_asked_for(way, folder, monkeypatch):
    put(folder, b"crack in the wall")
    if way == "send":  # some file systems cannot
        monkeypatch.setattr(os, "sendfile", refuse)
    ours, theirs = socket.socketpair()

    with ours, theirs, folder.open(KEY, 2, 8) as file:
        assert os.lseek(file.fileno(), 0, os.SEEK_CUR) == 2
        assert ours.sendfile(file, offset=2, count=8) == 8
        ours.shutdown(socket.SHUT_WR)

        assert theirs.recv(100) == b"ack in t"


def refuse(*_arguments: object) -> int:
    raise OSError(errno.EINVAL, "Invalid argument")


def test_nobody_may_write_to_an_original(folder):
    put(folder, b"crack")

    assert (folder.root / KEY).stat().st_mode & 0o777 == 0o444


@pytest.mark.parametrize("kind", ["symlink", "fifo", "folder", "nothing", "file as folder"])
def test_what_is_not_a_file_is_missing(kind, folder, tmp_path):
    target = folder.root / KEY
    target.parent.mkdir(parents=True)
    key = KEY
    if kind == "symlink":
        (tmp_path / "secret").write_bytes(b"secret")
        target.symlink_to(tmp_path / "secret")
    elif kind == "fifo":
        os.mkfifo(target)
    elif kind == "folder":
        target.mkdir()
    elif kind == "file as folder":
        target.write_bytes(b"x")
        key = KEY + "/x"

    with pytest.raises(Missing):
        folder.open(key)
    with pytest.raises(Missing):
        folder.stat(key)


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "The disk for photos is full."),
        (errno.EDQUOT, "The disk for photos is full (quota)."),
        (errno.EROFS, "The disk for photos is read-only."),
        (errno.EIO, "The disk for photos reports errors."),
        (errno.EACCES, "The folder for photos must not be written to."),
        (errno.EMFILE, "Too many files are open."),
        (errno.EXDEV, "The disk for photos failed (Invalid cross-device link)."),
    ],
)
@pytest.mark.parametrize("call", ["link", "fsync", "mkdir"])
def test_trouble_is_told_in_words(number, words, call, folder, monkeypatch):
    part = new_part(folder)
    part.write(b"crack")
    part.seal()

    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(Unavailable) as trouble:
        folder.place(KEY, part.path)
    monkeypatch.undo()

    assert str(trouble.value) == words
    assert not (folder.root / KEY).exists()


PLACE_ONE = """
import sys
from pathlib import Path
from viewer.storage import Workspace, from_url
root = Path(sys.argv[1])
store = from_url(f"folder:{root}")
part = Workspace(root, store).new_part()
part.write(b"crack")
part.seal()
store.place(sys.argv[2], part.path)
part.discard()
print("told", flush=True)
"""


@pytest.mark.proof
@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
def test_bytes_are_durable_before_they_have_a_name_and_the_name_before_anybody_is_told(tmp_path):
    log, root = tmp_path / "trace", tmp_path / "media"
    subprocess.run(
        ["strace", "-f", "-y", "-o", str(log), "-e", "trace=fsync,link,linkat,mkdir,write",
         sys.executable, "-c", PLACE_ONE, str(root), KEY],
        check=True, stdout=subprocess.PIPE, cwd=Path(__file__).parent.parent.parent,
    )  # fmt: skip

    calls = [line.partition(" ")[2].strip() for line in log.read_text().splitlines()]
    named = root / KEY

    def first(*marks: str) -> int:
        return next(n for n, call in enumerate(calls) if all(mark in call for mark in marks))

    assert (
        first("write(", ".part", "crack")
        < first("fsync(", ".part>")
        < first("link", str(named))
        < first("fsync(", f"{named.parent}>")
        < first("write(", "told")
    )
    for made in named.relative_to(tmp_path).parents[:-1]:  # each new folder is in its parent
        made_at = first("mkdir(", f'"{tmp_path / made}"')
        assert "fsync(" in calls[made_at + 1]
        assert f"{(tmp_path / made).parent}>" in calls[made_at + 1]


# --- Another name --------------------------------------------------------------------------

ASIDE = "quarantine/photo.jpg"


def test_a_file_that_moves_never_has_no_name(folder, monkeypatch):
    put(folder, b"crack")
    before = (folder.root / KEY).stat()
    seen = []
    monkeypatch.setattr(
        "viewer.storage.folder.failpoint",
        lambda name: (
            seen.append((name, read(folder), read(folder, ASIDE)))
            if name == "storage.moving"
            else None
        ),
    )

    folder.move(KEY, ASIDE)

    assert seen == [("storage.moving", b"crack", b"crack")]
    assert read(folder, ASIDE) == b"crack"
    with pytest.raises(Missing):
        folder.open(KEY)
    after = (folder.root / ASIDE).stat()
    assert (after.st_mtime_ns, after.st_mode) == (before.st_mtime_ns, before.st_mode)


def test_moving_again_is_fine_also_after_a_run_that_died_half_way(folder):
    put(folder, b"crack")
    (folder.root / "quarantine").mkdir()
    os.link(folder.root / KEY, folder.root / ASIDE)

    folder.move(KEY, ASIDE)
    folder.move(KEY, ASIDE)

    assert read(folder, ASIDE) == b"crack"
    assert not (folder.root / KEY).exists()


# --- Disks that fail or go away ------------------------------------------------------------


def test_a_disk_that_fails_while_it_is_read_is_told_in_words(folder, monkeypatch):
    put(folder, b"crack")

    class Dying(io.BytesIO):
        def read(self, _size: int | None = -1) -> bytes:
            raise OSError(errno.EIO, "io")

    with folder.open(KEY) as file:
        file._file.close()
        monkeypatch.setattr(file, "_file", Dying())
        with pytest.raises(Unavailable, match="reports errors"):
            file.read(1)


def test_what_a_person_left_in_the_folder_is_no_key(folder, tmp_path):
    put(folder, b"crack")
    part = new_part(folder)
    folder.mark("ours")
    folder.expect("ours")
    (folder.root / "2025" / ".hidden").write_bytes(b"x")
    (folder.root / "2025" / "a note.txt").write_bytes(b"x")
    (folder.root / "2025" / "link.jpg").symlink_to(folder.root / KEY)
    (folder.root / "linked").symlink_to(tmp_path)
    os.mkfifo(folder.root / "pipe")

    assert list(folder.keys()) == [(KEY, 5)]
    part.discard()


def test_a_disk_that_goes_away_in_the_middle_of_a_list_does_not_end_it(folder, tmp_path):
    """Half a list would make the other half look like lost files."""
    put(folder, b"crack", "a/1.jpg")
    put(folder, b"crack", "b/1.jpg")
    folder.mark("ours")
    folder.expect("ours")

    listed = folder.keys()
    next(listed)
    folder.root.rename(tmp_path / "unmounted")

    with pytest.raises(Unavailable, match="mounted"):
        list(listed)


@pytest.mark.parametrize("kind", ["file", "unreadable marker"])
def test_a_folder_that_cannot_be_read_is_away_and_says_why(kind, folder):
    if kind == "file":
        folder.root.write_bytes(b"not a folder")
    else:
        (folder.root / ".viewer-store").mkdir(parents=True)
    folder.expect("ours")

    with pytest.raises(Unavailable):
        folder.is_empty() if kind == "file" else folder.identity()
    assert folder.is_away()
    assert (folder.why_away() or "").endswith(("mounted?", "(Is a directory)."))


def test_files_are_listed_folder_by_folder_in_order(folder):
    """Whoever puts millions of keys into a table needs them so."""
    folders = ["2025/02/01", "2025/02/02", "2025/11/01"]
    keys = [f"{name}/{letter}.jpg" for name in folders for letter in "ab"]
    for key in reversed(keys):
        put(folder, b"crack", key)

    assert list(folder.keys()) == [(key, 5) for key in keys]
