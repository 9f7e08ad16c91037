"""Parts are cleared when their writer is dead; decoders get a copy and leave nothing."""

import errno
import fcntl
import os
import time
from pathlib import Path

import pytest

from tests.support.stored_files import place
from viewer.storage import (
    Store,
    Unavailable,
    Workspace,
    decoder_workspace,
    from_url,
    make_durable,
)

KEY = "2025/01/15/617-555-0123/messages/1736977200_photo.jpg"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return from_url(f"folder:{tmp_path / 'media'}")


@pytest.fixture
def workspace(store: Store, tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "media", store)


def test_a_failed_fsync_is_not_tried_again(workspace, monkeypatch):
    calls = []

    def fail(_: int) -> None:
        calls.append(1)
        raise OSError(errno.EIO, "io")

    part = workspace.new_part()
    part.write(b"crack")
    monkeypatch.setattr(os, "fsync", fail)

    with pytest.raises(Unavailable, match="reports errors"):
        part.seal()

    part.discard()
    assert calls == [1]
    assert not part.path.exists()


def test_tidying_clears_what_dead_writers_left_and_spares_the_living(workspace):
    living, dead = workspace.new_part(), workspace.new_part()
    fcntl.flock(dead.file, fcntl.LOCK_UN)  # as its death would
    decoders = workspace.decoder_folder()
    (decoders / "thumbnail.part").write_bytes(b"x")
    old = time.time() - 7200
    for path in (living.path, dead.path, decoders):
        os.utime(path, (old, old))
    fresh = workspace.new_part()
    fcntl.flock(fresh.file, fcntl.LOCK_UN)

    assert workspace.tidy(older_than=3600) == 2

    assert {path.name for path in workspace.folder.iterdir()} == {
        living.path.name, fresh.path.name,
    }  # fmt: skip
    for part in (living, dead, fresh):
        part.discard()


def test_a_killed_writer_leaves_a_part_that_is_tidied(workspace):
    child = os.fork()
    if child == 0:
        part = workspace.new_part()
        part.write(b"crack")
        os.kill(os.getpid(), 9)
    os.waitpid(child, 0)
    assert len(list(workspace.folder.iterdir())) == 1

    assert workspace.tidy(older_than=-1) == 1


def test_the_head_of_a_part_is_read_from_the_disk(workspace):
    part = workspace.new_part()
    part.write(b"crack")
    part.seal()

    assert (part.head(3), part.head(99)) == (b"cra", b"crack")

    part.discard()
    with pytest.raises(Unavailable):
        part.head(3)


# --- Decoders ------------------------------------------------------------------------------


def test_a_decoder_is_given_a_copy_and_leaves_nothing(workspace, store, tmp_path):
    place(b"crack", KEY, workspace, store)

    with decoder_workspace(workspace, store.open(KEY)) as (source, folder):
        seen = source.read_bytes(), source.parent, source.stat().st_nlink
        source.write_bytes(b"taken over")
        (folder / "made.jpg").write_bytes(b"small")

    assert seen == (b"crack", folder, 1)
    assert not folder.exists()
    with store.open(KEY) as file:
        assert file.read() == b"crack"


def test_a_decoder_that_dies_leaves_nothing(workspace, store):
    place(b"crack", KEY, workspace, store)

    with pytest.raises(RuntimeError), decoder_workspace(workspace, store.open(KEY)):
        raise RuntimeError

    assert list(workspace.folder.iterdir()) == []


def test_what_cannot_be_made_durable_is_told_in_words(tmp_path, monkeypatch):
    made = tmp_path / "made.jpg"
    made.write_bytes(b"small")
    make_durable(made)

    def fail(_: int) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "fsync", fail)

    with pytest.raises(Unavailable, match="full"):
        make_durable(made)
