"""A folder gives a name only to whole, durable files, and never replaces one."""

import errno
import fcntl
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from viewer.storage import Folder, Missing, Occupied, Stat, Unavailable
from viewer.storage.store import check_key

KEY = "2025/01/15/617-555-0123/messages/1736977200_photo.jpg"


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "media")


def put(folder: Folder, content: bytes, key: str = KEY) -> None:
    part = folder.new_part()
    try:
        part.write(content)
        part.seal()
        folder.place(key, part.path)
    finally:
        part.discard()


def read(folder: Folder, key: str = KEY, start: int = 0) -> bytes:
    with folder.open(key, start) as file:
        return file.read()


def test_what_was_placed_is_there_and_nothing_else(folder):
    put(folder, b"crack")

    assert read(folder) == b"crack"
    assert read(folder, start=2) == b"ack"
    assert folder.stat(KEY) == Stat(size=5)
    assert [path for path in folder.root.rglob("*") if path.is_file()] == [folder.root / KEY]


def test_nobody_may_write_to_an_original(folder):
    put(folder, b"crack")

    assert (folder.root / KEY).stat().st_mode & 0o777 == 0o444


def test_nothing_is_ever_replaced(folder):
    put(folder, b"first")

    with pytest.raises(Occupied):
        put(folder, b"second")

    assert read(folder) == b"first"


def test_of_many_that_want_one_name_one_gets_it_whole(folder):
    contents = [bytes([number]) * 100_000 for number in range(16)]
    barrier, won = threading.Barrier(len(contents)), []

    def compete(content: bytes) -> None:
        barrier.wait()
        try:
            put(folder, content)
        except Occupied:
            return
        won.append(content)

    threads = [threading.Thread(target=compete, args=(content,)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [read(folder)] == won


def test_a_part_is_seen_under_no_key(folder):
    part = folder.new_part()
    part.write(b"half of a crack")

    with pytest.raises(Missing):
        folder.open(KEY)

    part.discard()
    part.discard()  # twice is fine
    assert not part.path.exists()


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
    "key",
    [
        "", "..", "../x", "a/../b", "/etc/passwd", "a//b", "a/", "./a", ".incoming/x", "a/.hidden",
        "a\\b", "a b", "a\nb", "a\n", "a\x00b", "ä", "a%2fb", "C:x", "x" * 201,
        "/".join(["x"] * 300),
    ],
)  # fmt: skip
def test_a_key_that_we_would_not_choose_is_refused(key, folder):
    part = folder.new_part()
    part.seal()

    for verb in (check_key, folder.open, folder.stat, folder.remove):
        with pytest.raises(ValueError, match="not a key"):
            verb(key)
    with pytest.raises(ValueError, match="not a key"):
        folder.place(key, part.path)


def test_forgetting_twice_is_fine(folder):
    put(folder, b"crack")

    folder.remove(KEY)
    folder.remove(KEY)

    with pytest.raises(Missing):
        folder.stat(KEY)


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
    part = folder.new_part()
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


def test_a_failed_fsync_is_not_tried_again(folder, monkeypatch):
    calls = []

    def fail(_: int) -> None:
        calls.append(1)
        raise OSError(errno.EIO, "io")

    part = folder.new_part()
    part.write(b"crack")
    monkeypatch.setattr(os, "fsync", fail)

    with pytest.raises(Unavailable, match="reports errors"):
        part.seal()

    part.discard()
    assert calls == [1]
    assert not part.path.exists()


def test_tidying_clears_what_dead_writers_left_and_spares_the_living(folder):
    living, dead = folder.new_part(), folder.new_part()
    fcntl.flock(dead.file, fcntl.LOCK_UN)  # as its death would
    workplace = folder.workplace()
    (workplace / "thumbnail.part").write_bytes(b"x")
    old = time.time() - 7200
    for path in (living.path, dead.path, workplace):
        os.utime(path, (old, old))
    fresh = folder.new_part()
    fcntl.flock(fresh.file, fcntl.LOCK_UN)

    assert folder.tidy(older_than=3600) == 2

    assert {path.name for path in (folder.root / ".incoming").iterdir()} == {
        living.path.name, fresh.path.name,
    }  # fmt: skip
    for part in (living, dead, fresh):
        part.discard()


def test_a_killed_writer_leaves_a_part_that_is_tidied(folder):
    child = os.fork()
    if child == 0:
        part = folder.new_part()
        part.write(b"crack")
        os.kill(os.getpid(), 9)
    os.waitpid(child, 0)
    assert len(list((folder.root / ".incoming").iterdir())) == 1

    assert folder.tidy(older_than=-1) == 1


PLACE_ONE = """
import sys
from pathlib import Path
from viewer.storage import Folder
folder = Folder(Path(sys.argv[1]))
part = folder.new_part()
part.write(b"crack")
part.seal()
folder.place(sys.argv[2], part.path)
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


def test_a_move_replaces_nothing_and_invents_nothing(folder):
    put(folder, b"crack")
    put(folder, b"another", ASIDE)

    with pytest.raises(Occupied):
        folder.move(KEY, ASIDE)
    with pytest.raises(Missing):
        folder.move("nothing.jpg", "quarantine/nothing.jpg")

    assert (read(folder), read(folder, ASIDE)) == (b"crack", b"another")
