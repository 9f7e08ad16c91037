"""Copies are made beside an original that nothing alters, and no file stops the worker."""

import hashlib
import os
import subprocess
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import time_machine
from click.testing import CliRunner
from PIL import Image

from tests.support import homes
from tests.support.pictures import noise
from viewer import commands, derive, holdings, jobs
from viewer.extensions import db, now
from viewer.intake import derivatives, sweep
from viewer.models import MediaAttachment
from viewer.upkeep import identity

State, CopyState = MediaAttachment.State, MediaAttachment.CopyState


def noisy(name: str = "", kind: str = "JPEG", size: tuple[int, int] = (900, 600)) -> bytes:
    mark = name.encode() if kind == "JPEG" else b""  # what follows its end is no matter
    return noise(*size, 60, kind) + mark


@pytest.fixture
def stored(deliver, message, provider, app):
    """Rows of files that were sent and are stored; their copies are due."""

    def store(*contents: bytes, name: str = "") -> list[MediaAttachment]:
        urls = [provider.serve(content, path_suffix=name) for content in contents]
        assert deliver(message(media=urls).payload()).status_code == 204
        db.session.rollback()  # else SQLite would let no worker write
        jobs.work([jobs.INTAKE], burst=True)
        return rows(*urls)

    return store


def rows(*urls: str) -> list[MediaAttachment]:
    db.session.rollback()
    found = list(
        db.session.scalars(
            sa.select(MediaAttachment)
            .where(MediaAttachment.openphone_url.in_(urls))
            .order_by(MediaAttachment.position)
            .execution_options(populate_existing=True)
        )
    )
    db.session.commit()
    return found


def again(media: MediaAttachment) -> MediaAttachment:
    assert media.openphone_url
    return rows(media.openphone_url)[0]


def digest(key: str) -> str:
    with homes.own().open(key) as file:
        return hashlib.sha256(file.read()).hexdigest()


def decoder_that(monkeypatch: pytest.MonkeyPatch, act: Any) -> list[Path]:
    """Let the decoder do this instead of its work; the files it was given."""
    given: list[Path] = []

    def derive_instead(source: Path, _mime: str, into: Path, _limits: Any) -> Any:
        given.append(source)
        return act(source, into)

    monkeypatch.setattr(derive, "derive", derive_instead)
    return given


def test_a_photo_has_its_copies_beside_an_untouched_original(stored):
    [media] = stored(noisy())
    assert media.copy_state is CopyState.DUE

    assert derivatives.make_copies(media.id) is True

    media = again(media)
    stem = media.file_path.removesuffix(".jpg")
    assert (media.copy_state, media.copy_problem) == (CopyState.MADE, None)
    assert (media.width, media.height) == (900, 600)
    assert (media.thumbnail_path, media.preview_path) == (
        f"{stem}_thumb.jpg",
        f"{stem}_preview.jpg",
    )
    assert digest(media.file_path) == media.sha256
    with homes.own().open(media.thumbnail_path) as file, Image.open(file) as small:
        assert small.size == (480, 320)


def test_copies_of_alike_named_originals_do_not_meet(stored):
    photos = stored(noisy("a"), noisy("b", "PNG"), name="/wall.jpg")
    more = stored(noisy("c"), name="/wall_thumb.jpg")

    for media in [*photos, *more]:
        assert derivatives.make_copies(media.id)

    made = [again(media) for media in [*photos, *more]]
    keys = [key for m in made for key in (m.file_path, m.thumbnail_path, m.preview_path) if key]
    assert len({key.lower() for key in keys}) == len(keys)
    assert all(digest(media.file_path) == media.sha256 for media in made)


def test_a_decoder_that_was_taken_over_cannot_reach_the_original(stored, monkeypatch):
    [media] = stored(noisy())

    def overwrite(source: Path, into: Path) -> derive.Derived:
        source.chmod(0o644)
        source.write_bytes(b"overwritten")
        raise derive.Killed("The decoder crashed (SIGSEGV).")

    given = decoder_that(monkeypatch, overwrite)
    derivatives.make_copies(media.id)

    assert digest(media.file_path) == media.sha256
    assert not given[0].exists()  # nor is anything left of what it had
    assert again(media).state is State.STORED


SHOT_BY_THE_HOSTILE = """
import os
if os.pread(0, 1 << 24, 0).endswith(b"hostile"):
    os.kill(os.getpid(), 9)
"""


def test_a_file_that_kills_its_decoder_is_given_up_after_three_tries(stored, monkeypatch):
    [hostile, fine] = stored(noisy("hostile"), noisy("fine"))
    monkeypatch.setattr(derive, "_BOOT", SHOT_BY_THE_HOSTILE + derive._BOOT)

    for minutes in range(0, 50, 10):
        with time_machine.travel(now() + timedelta(minutes=minutes)):
            jobs.remind_of(sweep.due())
            jobs.work([jobs.COPIES], burst=True)

    given_up = again(hostile)
    assert (given_up.copy_state, given_up.copy_attempts) == (
        CopyState.IMPOSSIBLE,
        derivatives.TRIES,
    )
    assert given_up.copy_problem == "It needed more computing time or memory than it may."
    assert (given_up.state, digest(given_up.file_path)) == (State.STORED, given_up.sha256)
    assert again(fine).copy_state is CopyState.MADE  # the worker lives


def test_copies_that_were_given_up_are_made_when_a_person_asks(stored, settings, monkeypatch):
    identity.ensure()
    [media] = stored(noisy())
    with monkeypatch.context() as short_of_memory:
        short_of_memory.setattr(derive, "_BOOT", "import os; os.kill(os.getpid(), 9)")
        for minutes in range(0, 30, 10):
            with time_machine.travel(now() + timedelta(minutes=minutes)):
                derivatives.make_copies(media.id)
    assert again(media).copy_state is CopyState.IMPOSSIBLE
    for name, value in settings.items():
        monkeypatch.setenv(name, str(value))

    said = CliRunner().invoke(commands.viewer, ["retry", str(media.id)])
    jobs.work([jobs.COPIES], burst=True)

    assert said.output == "1 to be tried again\n"
    assert again(media).copy_state is CopyState.MADE


def test_a_run_that_dies_without_a_word_counts_and_is_said(stored):
    [media] = stored(noisy())

    for number in range(1, derivatives.TRIES + 2):
        with time_machine.travel(now() + timedelta(minutes=10 * number)):
            derivatives._claim(media.id)  # and then nothing: it was shot

    media = again(media)
    assert media.copy_state is CopyState.IMPOSSIBLE
    assert media.copy_problem


def test_what_cannot_be_shown_says_so_and_stays_a_download(stored):
    [media] = stored(b"\x89PNG\r\n\x1a\n" + bytes(200))

    assert derivatives.make_copies(media.id) is False

    media = again(media)
    assert media.copy_state is CopyState.IMPOSSIBLE
    assert media.copy_problem
    assert (media.state, media.problem, media.thumbnail_path) == (State.STORED, None, None)


def test_a_picture_that_was_sent_cut_is_shown_and_flagged(stored):
    whole = noisy()
    [media] = stored(whole[: len(whole) // 2])

    assert derivatives.make_copies(media.id) is True

    media = again(media)
    assert media.copy_problem == "The file is incomplete: it ends early."
    assert media.thumbnail_path
    assert (media.state, digest(media.file_path)) == (State.STORED, media.sha256)


def test_copies_that_were_deleted_are_made_again(stored):
    [media] = stored(noisy())
    derivatives.make_copies(media.id)
    media = again(media)
    assert media.thumbnail_path
    homes.own().remove(media.thumbnail_path)  # the preview is still there, and in the way

    media.copy_state, media.copy_due_at, media.copy_attempts = CopyState.DUE, now(), 0
    db.session.commit()
    assert derivatives.make_copies(media.id) is True

    assert homes.own().stat(again(media).thumbnail_path).size > 0


def test_a_second_run_while_one_is_at_it_does_nothing(stored, monkeypatch):
    [media] = stored(noisy())
    given = decoder_that(monkeypatch, lambda *_: pytest.fail("it must not be decoded twice"))
    derivatives._claim(media.id)

    assert derivatives.make_copies(media.id) is False

    assert given == []


@pytest.fixture
def small_disk(app, tmp_path) -> Iterator[int]:
    """The store is on a disk of this many bytes."""
    root, size = app.config["SETTINGS"].media_root, 1024 * 1024
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "viewer-test", str(root)]
    if os.getuid() != 0 or subprocess.run(mount, check=False).returncode != 0:
        pytest.skip("needs root and the right to mount a tmpfs")
    holdings.unproven().mark(str(holdings.own_id()))
    yield size
    subprocess.run(["umount", str(root)], check=True)


@pytest.mark.parametrize("room", ["nothing", "the original"])
def test_a_full_disk_is_not_the_files_fault(room, app, small_disk, stored):
    photo = noisy()
    [media] = stored(photo)
    ballast = app.config["SETTINGS"].media_root / "ballast"
    left = 16 * 1024 + (len(photo) if room == "the original" else 0)
    ballast.write_bytes(bytes(small_disk - len(photo) - left))

    for minutes in range(0, 10 * (derivatives.TRIES + 2), 10):
        with time_machine.travel(now() + timedelta(minutes=minutes)):
            assert derivatives.make_copies(media.id) is False

    waiting = again(media)
    assert (waiting.copy_state, waiting.copy_attempts) == (CopyState.DUE, 0)
    assert "full" in waiting.copy_problem
    ballast.unlink()
    with time_machine.travel(now() + timedelta(hours=2)):
        assert derivatives.make_copies(media.id) is True
    assert again(media).copy_problem is None


@pytest.mark.on_folder("the folder would still have it")
def test_an_original_that_is_gone_is_no_endless_work(stored):
    [media] = stored(noisy())
    homes.own().remove(media.file_path)

    jobs.derive_media(str(media.id))

    row = again(media)
    assert (row.state, row.copy_state, row.copy_attempts) == (State.DAMAGED, CopyState.DUE, 0)
    assert row.copy_due_at > now() + derivatives.WITHOUT_ORIGINAL - timedelta(minutes=1)
