"""One file comes home whole, once, under a name of its own, whatever dies or lies on the way."""

import contextlib
import hashlib
import itertools
import os
import subprocess
import threading
import uuid
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import time_machine

from tests.conftest import BOTH
from tests.support import homes
from tests.support.children import in_child
from tests.support.crowds import run_all
from tests.support.hostile_server import (
    Behaviour,
    HostileServer,
    Wire,
    answer,
    chunked,
    endless,
    in_turn,
)
from tests.support.pictures import picture
from tests.support.stored_files import row
from viewer import failpoint, holdings
from viewer.extensions import db, now
from viewer.intake import collect, ingest, sweep
from viewer.models import MediaAttachment, RegisteredStore, WebhookEvent
from viewer.storage import workspace

pytestmark = pytest.mark.on_folder("is about what is stored before it is pushed")

State = MediaAttachment.State
CopyState = MediaAttachment.CopyState


def tiny(kind: str = "JPEG", colour: str = "grey") -> bytes:
    return picture(60, 40, colour, kind)


@pytest.fixture
def hostile() -> Iterator[HostileServer]:
    with HostileServer() as server:
        yield server


@pytest.fixture
def announced(app, deliver, message) -> Callable[..., list[Any]]:
    """Deliver a text with these files and ingest it; their ids, in order."""

    def announce(*media: Any, **words: Any) -> list[Any]:
        assert deliver(message(media=list(media), **words).payload()).status_code == 204
        event = db.session.scalars(
            sa.select(WebhookEvent).where(WebhookEvent.state == WebhookEvent.State.RECEIVED)
        ).one()
        ids = ingest.ingest(event.id)
        db.session.commit()
        return sorted(ids, key=lambda media_id: row(media_id).position)

    return announce


def stored_bytes(media: MediaAttachment) -> bytes:
    with homes.own().open(media.file_path) as file:
        return file.read()


def all_files(media_root: Path) -> list[Path]:
    found = (path for path in media_root.rglob("*") if path.is_file())
    return sorted(path for path in found if path.name != ".viewer-store")


@pytest.fixture
def root(app) -> Path:
    found: Path = app.config["SETTINGS"].media_root
    return found


# --- bytes ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "declared", "extension", "mime_type", "media_type"),
    [
        (tiny("JPEG"), "image/jpeg", ".jpg", "image/jpeg", "photo"),
        (tiny("PNG"), "image/jpeg", ".png", "image/png", "photo"),
        (tiny("GIF"), None, ".gif", "image/gif", "photo"),
        (b"ID3\x04\0\0\0\0\0\0\xff\xfb\x90\0", "image/jpeg", ".mp3", "audio/mpeg", "audio"),
        (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", "image/jpeg", ".pdf", "application/pdf", "document"),
        (b"MZ\x90\0" + bytes(60), "image/jpeg", ".bin", "application/octet-stream", "document"),
        (b"\x01\x02\x03 of no known kind", None, ".bin", "application/octet-stream", "document"),
    ],
)  # fmt: skip
def test_a_stored_file_has_the_very_bytes_and_the_type_they_say(
    content, declared, extension, mime_type, media_type, announced, provider, root
):
    url = provider.serve(content, content_type="image/webp")
    [media_id] = announced({"url": url, "type": declared})

    assert collect.collect(media_id) is True

    media = row(media_id)
    assert (media.state, media.problem) == (State.STORED, None)
    assert stored_bytes(media) == content
    assert (media.sha256, media.file_size) == (hashlib.sha256(content).hexdigest(), len(content))
    assert (media.mime_type, media.media_type.value) == (mime_type, media_type)
    assert media.file_path.endswith(extension)
    assert (root / media.file_path).stat().st_mode & 0o777 == 0o444
    assert media.copy_state is (CopyState.MADE if media_type == "document" else CopyState.DUE)
    assert all_files(root) == [root / media.file_path]


def test_a_second_run_asks_nobody(announced, provider):
    url = provider.serve(tiny())
    [media_id] = announced(url)
    collect.collect(media_id)

    assert collect.collect(media_id) is False

    assert provider.gets(url) == 1
    assert row(media_id).attempts == 1


def test_the_same_photo_in_two_messages_is_two_files(announced, provider):
    url = provider.serve(tiny())
    [first], [second] = announced(url), announced(url)

    assert collect.collect(first)
    assert collect.collect(second)

    one, other = row(first), row(second)
    assert one.sha256 == other.sha256
    assert one.file_path != other.file_path
    homes.own().remove(one.file_path)
    assert stored_bytes(other) == tiny()


def test_one_dead_photo_of_three_does_not_keep_the_others(announced, provider, work):
    sent = [provider.serve(tiny(colour=colour)) for colour in ("red", "green", "blue")]
    provider.withdraw(sent[1])
    ids = announced(*sent)

    for media_id in ids:
        collect.collect(media_id)

    assert [row(media_id).state for media_id in ids] == [
        State.STORED, State.NEEDS_ATTENTION, State.STORED,
    ]  # fmt: skip


# --- crashes -------------------------------------------------------------------------------

PLACES = (
    "collect.claimed", "storage.sealed", "collect.sealed", "storage.mkdir", "storage.folders",
    "storage.linked", "storage.placed", "collect.placed", "collect.stored",
)  # fmt: skip
HAS_NAME = {"storage.linked", "storage.placed", "collect.placed", "collect.stored"}


@pytest.mark.proof
@pytest.mark.parametrize("place", PLACES)
def test_a_run_that_is_killed_is_finished_by_the_next(
    place, announced, provider, root, monkeypatch
):
    url = provider.serve(tiny())
    [media_id] = announced(url)
    monkeypatch.setenv(failpoint.VARIABLE, f"{place}=kill")
    in_child(lambda: collect.collect(media_id), expected=-9)
    monkeypatch.delenv(failpoint.VARIABLE)
    if place in HAS_NAME:
        provider.withdraw(url)  # from now on the address is dead

    with time_machine.travel(now() + collect.LEASE + timedelta(seconds=5)):
        came = collect.collect(media_id)

    media = row(media_id)
    assert came is (place != "collect.stored")
    assert (media.state, media.file_size) == (State.STORED, len(tiny()))
    assert media.sha256 == hashlib.sha256(tiny()).hexdigest()
    assert stored_bytes(media) == tiny()
    named = [path for path in all_files(root) if ".incoming" not in path.parts]
    assert named == [root / media.file_path]
    holdings.spool().tidy(older_than=-1)
    assert all_files(root) == named


def test_a_file_that_is_adopted_under_its_new_extension_is_the_same(
    announced, provider, root, monkeypatch
):
    url = provider.serve(tiny("PNG"))
    [media_id] = announced({"url": url, "type": "image/jpeg"})
    monkeypatch.setenv(failpoint.VARIABLE, "storage.linked=kill")
    in_child(lambda: collect.collect(media_id), expected=-9)
    monkeypatch.delenv(failpoint.VARIABLE)
    provider.withdraw(url)

    with time_machine.travel(now() + timedelta(minutes=1)):
        assert collect.collect(media_id)

    assert row(media_id).file_path.endswith(".png")
    assert row(media_id).mime_type == "image/png"


# --- leases --------------------------------------------------------------------------------


def test_while_a_lease_holds_nobody_else_downloads(announced, provider):
    url = provider.serve(tiny())
    [media_id] = announced(url)
    assert collect._claim(media_id)

    assert collect.collect(media_id) is False

    assert provider.gets(url) == 0


def test_a_run_that_lost_its_lease_has_no_effect(announced, provider):
    url = provider.serve(tiny())
    [media_id] = announced(url)
    slow = collect._claim(media_id)
    with time_machine.travel(now() + timedelta(minutes=1)):
        assert collect.collect(media_id)
    stored = row(media_id)
    before = {name: getattr(stored, name) for name in ("state", "sha256", "file_path", "attempts")}

    receipt = collect.Receipt(1, "0" * 64, collect.derive.sniff(b"GIF89a"))
    assert collect._mark_stored(slow, receipt, holdings.own_id()) is False
    collect._failed(slow, "The loser says so.")
    collect._later(slow, "The loser says so.")
    with pytest.raises(collect.LostClaim):
        collect._intend(slow, "elsewhere.jpg", receipt)

    now_row = row(media_id)
    assert {name: getattr(now_row, name) for name in before} == before
    assert now_row.problem is None


def test_a_run_that_lost_its_lease_does_not_disturb_the_one_that_has_it(announced, provider):
    [media_id] = announced(provider.serve(tiny()))
    slow = collect._claim(media_id)
    receipt = collect.Receipt(1, "0" * 64, collect.derive.sniff(b"GIF89a"))

    with time_machine.travel(now() + timedelta(minutes=1)):
        quick = collect._claim(media_id)
        assert collect._mark_stored(slow, receipt, holdings.own_id()) is False
        collect._failed(slow, "The loser says so.", at_once=True)
        collect._later(slow, "The loser says so.")

    media = row(media_id)
    assert (media.state, media.attempts) == (State.DOWNLOADING, quick.attempt)
    assert (media.problem, media.failures) == (None, 0)


@BOTH
def test_many_runs_at_once_download_once(app, database, announced, provider, root):
    url = provider.serve(tiny(), delay=0.3)
    [media_id] = announced(url)
    barrier, came = threading.Barrier(8), []

    def run() -> None:
        with app.app_context():
            barrier.wait()
            came.append(collect.collect(media_id))

    threads = [threading.Thread(target=run) for _ in range(8)]
    run_all(threads)

    assert sorted(came) == [False] * 7 + [True]
    assert provider.gets(url) == 1
    assert len(all_files(root)) == 1


def test_many_processes_at_once_download_once(announced, provider, root):
    url = provider.serve(tiny(), delay=0.3)
    [media_id] = announced(url)
    children = []
    for _ in range(4):
        child = os.fork()
        if child == 0:
            try:
                db.session.remove()
                db.engine.dispose(close=False)
                collect.collect(media_id)
            finally:
                os._exit(0)
        children.append(child)
    for child in children:
        os.waitpid(child, 0)

    assert row(media_id).state is State.STORED
    assert provider.gets(url) == 1
    assert len(all_files(root)) == 1


# --- names that are taken --------------------------------------------------------------------


def strangers_file(root: Path, key: str, content: bytes) -> Path:
    path = root / key
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_a_strangers_file_under_another_extension_survives_and_so_does_ours(
    announced, provider, root
):
    [media_id] = announced({"url": provider.serve(tiny("PNG")), "type": "image/jpeg"})
    stranger = strangers_file(root, row(media_id).file_path.replace(".jpg", ".png"), b"stranger")

    assert collect.collect(media_id)

    media = row(media_id)
    assert stranger.read_bytes() == b"stranger"
    assert stored_bytes(media) == tiny("PNG")
    assert media.file_path.endswith("_photo-2.png")


def test_a_strangers_file_under_our_very_name_is_not_taken_for_ours(announced, provider, root):
    [media_id] = announced(provider.serve(tiny()))
    stranger = strangers_file(root, row(media_id).file_path, b"stranger")

    assert collect.collect(media_id)

    assert stranger.read_bytes() == b"stranger"
    assert stored_bytes(row(media_id)) == tiny()


def test_a_strangers_file_does_not_take_the_name_of_another_photo(announced, provider, root):
    sent = [{"url": provider.serve(tiny("PNG", colour)), "type": "image/jpeg"}
            for colour in ("red", "blue")]  # fmt: skip
    first, second = announced(*sent)
    assert row(second).file_path.endswith("_photo-2.jpg")
    stranger = strangers_file(root, row(first).file_path.replace(".jpg", ".png"), b"stranger")

    assert collect.collect(first)
    assert collect.collect(second)

    assert stranger.read_bytes() == b"stranger"
    assert stored_bytes(row(first)) == tiny("PNG", "red")
    assert stored_bytes(row(second)) == tiny("PNG", "blue")


@pytest.mark.parametrize("planted", ["symlink", "fifo", "folder"])
def test_what_is_planted_under_the_name_is_neither_read_nor_lost(
    planted, announced, provider, root, tmp_path
):
    [media_id] = announced(provider.serve(tiny()))
    target = root / row(media_id).file_path
    target.parent.mkdir(parents=True)
    (tmp_path / "secret").write_bytes(b"secret")
    if planted == "symlink":
        target.symlink_to(tmp_path / "secret")
    elif planted == "fifo":
        os.mkfifo(target)
    else:
        target.mkdir()

    assert collect.collect(media_id)

    assert stored_bytes(row(media_id)) == tiny()
    assert target.exists()
    assert (tmp_path / "secret").read_bytes() == b"secret"


# --- what the source does --------------------------------------------------------------------


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_a_dead_address_is_told_at_once_and_still_tried(status, announced, hostile):
    url = hostile.serve(in_turn(answer(status=status), answer(tiny())))
    [media_id] = announced(url)

    assert collect.collect(media_id) is False

    media = row(media_id)
    assert (media.state, media.failures) == (State.NEEDS_ATTENTION, 1)
    assert str(status) in media.problem
    with time_machine.travel(media.next_attempt_at + timedelta(seconds=1)):
        assert collect.collect(media_id) is True
    assert (row(media_id).state, row(media_id).problem) == (State.STORED, None)


def test_a_server_that_asks_for_patience_gets_it(announced, hostile):
    busy = answer(status=503, headers=(("Retry-After", "600"),))
    url = hostile.serve(in_turn(busy, answer(tiny())))
    [media_id] = announced(url)
    asked_at = now()

    collect.collect(media_id)

    media = row(media_id)
    assert (media.state, media.failures) == (State.PENDING, 1)
    assert media.next_attempt_at >= asked_at + timedelta(seconds=600)
    assert collect.collect(media_id) is False
    assert hostile.asked_for(url) == 1
    with time_machine.travel(media.next_attempt_at + timedelta(seconds=1)):
        assert collect.collect(media_id)


def test_after_a_quarter_of_an_hour_a_person_is_told_and_the_tries_go_on(announced, hostile):
    url = hostile.serve(answer(status=500))
    [media_id] = announced(url)
    began = now()
    collect.collect(media_id)

    while row(media_id).state is State.PENDING:
        with time_machine.travel(row(media_id).next_attempt_at + timedelta(seconds=1)):
            collect.collect(media_id)
            told_at = now()

    media = row(media_id)
    assert media.state is State.NEEDS_ATTENTION
    assert "500" in media.problem
    assert began + collect.PATIENCE <= told_at <= began + 2 * collect.PATIENCE
    assert media.next_attempt_at is not None


FIRST = datetime.fromisoformat("2026-09-21T14:00:00+00:00")


@pytest.mark.parametrize(
    ("failures", "since", "most"),
    [
        (1, timedelta(0), timedelta(seconds=5)),
        (2, timedelta(seconds=5), timedelta(seconds=30)),
        (3, timedelta(seconds=35), timedelta(minutes=2)),
        (5, timedelta(minutes=10), timedelta(minutes=15)),
        (90, timedelta(hours=23, minutes=59), timedelta(minutes=15)),
        (99, timedelta(hours=25), timedelta(hours=1)),
        (150, timedelta(days=4), timedelta(days=1)),
    ],
)
def test_the_pace_follows_how_long_it_has_failed(failures, since, most):
    moment = FIRST + since

    pauses = [collect.next_attempt(failures, FIRST, moment) - moment for _ in range(50)]

    assert most * 0.9 <= min(pauses)
    assert max(pauses) <= most


def test_the_tries_of_a_month_come_close_at_first_and_then_end():
    moment, tries = FIRST, [FIRST]
    while following := collect.next_attempt(len(tries), FIRST, moment):
        moment = following
        tries.append(moment)

    pauses = [(later - earlier) for earlier, later in itertools.pairwise(tries)]
    first_day = [p for p, at in zip(pauses, tries, strict=False) if at - FIRST < timedelta(days=1)]
    assert max(first_day) <= timedelta(minutes=15)
    assert max(pauses) <= timedelta(days=1)
    assert timedelta(days=29) < tries[-1] - FIRST < timedelta(days=31)


def test_a_pause_that_a_server_wishes_is_added_to_ours_only_if_longer():
    assert collect.next_attempt(1, FIRST, FIRST, 100.0) == FIRST + timedelta(seconds=100)
    assert collect.next_attempt(4, FIRST, FIRST, 1.0) > FIRST + timedelta(seconds=100)


PAGE = b"<!DOCTYPE html><html><body>Please sign in</body></html>"


@pytest.mark.parametrize(
    "page",
    [PAGE, b"\xef\xbb\xbf  \n" + PAGE, b'{"error": "expired"}', b"<?xml version='1.0'?><Error/>",
     b"AccessDenied"],
)  # fmt: skip
def test_an_error_page_never_becomes_a_photo_and_is_kept_as_evidence(
    page, announced, hostile, root
):
    url = hostile.serve(in_turn(answer(page), answer(tiny())))
    [media_id] = announced({"url": url, "type": "image/jpeg"})

    assert collect.collect(media_id) is False

    media = row(media_id)
    assert (media.state, media.sha256) == (State.NEEDS_ATTENTION, None)
    assert media.problem.startswith("The phone provider sent ")
    assert [path.read_bytes() for path in all_files(root)] == [page]
    assert (root / "rejected" / str(media_id)).read_bytes() == page
    with time_machine.travel(media.next_attempt_at + timedelta(seconds=1)):
        assert collect.collect(media_id)
    assert stored_bytes(row(media_id)) == tiny()


def test_text_that_somebody_sent_as_text_is_a_document(announced, provider):
    [media_id] = announced({"url": provider.serve(b"BEGIN:VCARD\n"), "type": "text/plain"})

    assert collect.collect(media_id)

    assert row(media_id).media_type.value == "document"


@pytest.mark.parametrize(
    "behaviour",
    [answer(b""), answer(tiny()[:50], length=len(tiny())), chunked(tiny(), ending=b""),
     answer(status=204), answer(tiny(), status=206), answer(status=304), answer(status=302)],
    ids=["empty", "cut", "chunks cut", "204", "206", "304", "302 to nowhere"],
)  # fmt: skip
def test_what_is_no_whole_file_is_never_stored(behaviour, announced, hostile, root):
    [media_id] = announced(hostile.serve(in_turn(behaviour, answer(tiny()))))

    assert collect.collect(media_id) is False

    media = row(media_id)
    assert (media.state, media.failures) in [(State.PENDING, 1), (State.NEEDS_ATTENTION, 1)]
    assert media.problem
    assert all_files(root) == []
    with time_machine.travel(media.next_attempt_at + timedelta(seconds=1)):
        assert collect.collect(media_id)


@pytest.mark.parametrize("announce", [None, 10_000_000_000])
def test_a_file_that_is_too_large_is_refused_in_words(announce, settings, request, hostile):
    settings["MEDIA_MAX_MB"] = 1
    announced, root = request.getfixturevalue("announced"), request.getfixturevalue("root")
    [media_id] = announced(hostile.serve(endless(announce=announce)))

    assert collect.collect(media_id) is False

    media = row(media_id)
    assert (media.state, media.failures) == (State.NEEDS_ATTENTION, 1)
    assert media.problem == "The file is larger than the 1 MB we accept."
    assert all_files(root) == []


def test_a_host_that_nobody_allowed_waits_with_its_address(announced):
    [media_id] = announced("https://elsewhere.example.com/x.jpg")

    assert collect.collect(media_id) is False

    media = row(media_id)
    assert media.state is State.NEEDS_ATTENTION
    assert media.problem.startswith("elsewhere.example.com is not on the list")
    assert media.openphone_url == "https://elsewhere.example.com/x.jpg"


def test_without_a_length_two_downloads_must_agree(announced, hostile):
    agreed = hostile.serve(answer(tiny(), length=None))
    cut = hostile.serve(in_turn(answer(tiny()[:-9], length=None), answer(tiny(), length=None)))
    [first], [second] = announced(agreed), announced(cut)

    assert collect.collect(first) is True
    assert collect.collect(second) is False

    assert hostile.asked_for(agreed) == 2
    assert row(first).sha256 == hashlib.sha256(tiny()).hexdigest()
    assert row(second).problem == "Two downloads of the file were not the same."
    with time_machine.travel(row(second).next_attempt_at + timedelta(seconds=1)):
        assert collect.collect(second)
    assert stored_bytes(row(second)) == tiny()


def test_a_person_may_ask_again(announced, provider):
    url = provider.serve(tiny(), fail_first=1)
    [media_id] = announced(url)
    collect.collect(media_id)

    assert collect.retry(media_id)
    assert collect.retry(media_id)
    db.session.commit()

    assert collect.collect(media_id)


# --- the disk ------------------------------------------------------------------------------


@contextlib.contextmanager
def mounted(folder: Path, options: str) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "viewer-test", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def may_mount(tmp: Path) -> bool:
    if os.getuid() != 0:
        return False
    try:
        with mounted(tmp / "probe", "size=64k"):
            return True
    except (OSError, subprocess.CalledProcessError):
        return False


@pytest.fixture
def small_disk(app, root, tmp_path) -> Iterator[Path]:
    if not may_mount(tmp_path):
        pytest.skip("needs root and the right to mount a tmpfs")
    with mounted(root, "size=64k"):
        holdings.unproven().mark(str(holdings.own_id()))
        yield root


def assert_waits(media_id: Any, words: str) -> None:
    media = row(media_id)
    assert (media.state, media.failures, media.first_failed_at) == (State.PENDING, 0, None)
    assert media.problem == words
    assert media.next_attempt_at <= now() + collect.STORAGE_PAUSE


def test_a_full_disk_costs_no_patience_and_no_webhook(small_disk, announced, provider):
    noise = tiny() + os.urandom(30_000)
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(45_000))
    [media_id] = announced(provider.serve(noise))

    assert collect.collect(media_id) is False

    assert_waits(media_id, "The disk for photos is full.")
    assert all_files(small_disk) == [ballast]
    [another] = announced(provider.serve(tiny()))  # asserts the 204
    ballast.unlink()
    with time_machine.travel(now() + collect.STORAGE_PAUSE + timedelta(seconds=1)):
        assert collect.collect(media_id)
        assert collect.collect(another)
    assert stored_bytes(row(media_id)) == noise


def test_a_read_only_disk_costs_no_patience(small_disk, announced, provider):
    [media_id] = announced(provider.serve(tiny()))
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)

    assert collect.collect(media_id) is False

    assert_waits(media_id, "The disk for photos is read-only.")
    subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
    with time_machine.travel(now() + collect.STORAGE_PAUSE + timedelta(seconds=1)):
        assert collect.collect(media_id)


def test_a_disk_without_inodes_costs_no_patience(app, root, tmp_path, announced, provider):
    if not may_mount(tmp_path):
        pytest.skip("needs root and the right to mount a tmpfs")
    with mounted(root, "size=1m,nr_inodes=4"):
        holdings.unproven().mark(str(holdings.own_id()))
        [media_id] = announced(provider.serve(tiny()))

        assert collect.collect(media_id) is False

        assert_waits(media_id, "The disk for photos is full.")


# --- orphans -------------------------------------------------------------------------------


def test_a_late_event_adopts_its_bytes_when_the_provider_has_them_no_more(
    announced, provider, root
):
    """An older database was restored beside newer files, and the event came again."""
    [media_id] = announced({"url": provider.serve(b"", status=404), "type": "image/jpeg"})
    lost = row(media_id).file_path
    kept = strangers_file(root, lost.replace(".jpg", ".png"), tiny("PNG"))
    strangers_file(root, lost.replace(".jpg", "_thumb.jpg"), tiny())

    assert collect.collect(media_id) is True

    media = row(media_id)
    assert (media.state, media.problem, media.failures) == (State.STORED, None, 0)
    assert (root / media.file_path, media.mime_type) == (kept, "image/png")
    assert media.sha256 == hashlib.sha256(tiny("PNG")).hexdigest()
    assert kept.read_bytes() == tiny("PNG")
    assert media.copy_state is CopyState.DUE


@pytest.mark.parametrize(
    ("declared", "names", "content"),
    [
        ("image/jpeg", [".jpg"], b"<!DOCTYPE html><html><body>Please sign in</body></html>"),
        ("image/jpeg", [".mp3"], b"ID3\x04\0\0\0\0\0\0\xff\xfb\x90\0"),
        ("image/jpeg", [".jpg", ".png"], tiny()),
        ("image/jpeg", ["-2.jpg"], tiny()),
    ],
)  # fmt: skip
def test_a_file_that_may_be_anothers_is_not_adopted(
    declared, names, content, announced, provider, root
):
    [media_id] = announced({"url": provider.serve(b"", status=404), "type": declared})
    stem = row(media_id).file_stem
    files = [strangers_file(root, f"{stem}{name}", content) for name in names]

    assert collect.collect(media_id) is False

    assert row(media_id).state is State.NEEDS_ATTENTION
    assert [path.read_bytes() for path in files] == [content] * len(files)


def test_what_the_provider_still_has_is_taken_before_an_orphan(announced, provider, root):
    [media_id] = announced({"url": provider.serve(tiny()), "type": "image/jpeg"})
    stranger = strangers_file(root, row(media_id).file_path, tiny("PNG"))

    assert collect.collect(media_id) is True

    assert stored_bytes(row(media_id)) == tiny()
    assert stranger.read_bytes() == tiny("PNG")


# --- K11: another host ---------------------------------------------------------------------


@pytest.fixture
def about_to_place(announced, provider):
    """The id of a row whose run wrote what it would place in this folder, and died."""

    def died(folder: uuid.UUID, url: str, content: bytes = tiny()) -> Any:
        [media_id] = announced({"url": url, "type": "image/jpeg"})
        media = row(media_id)
        media.state, media.storage = State.DOWNLOADING, folder
        media.sha256 = hashlib.sha256(content).hexdigest()
        media.lease_until = now() - timedelta(seconds=1)
        db.session.commit()
        return media_id

    return died


@pytest.fixture
def elsewhere(app) -> uuid.UUID:
    """The folder of another host."""
    theirs = RegisteredStore(host="elsewhere", address="folder:/srv/media")
    db.session.add(theirs)
    db.session.commit()
    return theirs.id


def test_k11_what_a_dead_host_may_have_placed_is_left_to_it_and_then_taken(
    about_to_place, elsewhere, provider
):
    url = provider.serve(tiny())
    media_id = about_to_place(elsewhere, url)

    at_once = collect.collect(media_id)
    asked = provider.gets(url)
    with time_machine.travel(now() + collect.LEFT_TO_ITS_HOST):
        later = collect.collect(media_id)

    assert (at_once, asked, later) == (False, 0, True)
    assert (row(media_id).storage, row(media_id).state) == (holdings.own_id(), State.STORED)


def test_k11_where_the_provider_has_it_no_more_the_dead_host_still_has_the_say(
    about_to_place, elsewhere, provider
):
    media_id = about_to_place(elsewhere, provider.serve(b"", status=404))

    with time_machine.travel(now() + collect.LEFT_TO_ITS_HOST):
        taken = collect.collect(media_id)

    media = row(media_id)
    assert (taken, media.state) == (False, State.NEEDS_ATTENTION)
    assert (media.storage, media.sha256) == (elsewhere, hashlib.sha256(tiny()).hexdigest())


@pytest.mark.parametrize("state", [State.DOWNLOADING, State.NEEDS_ATTENTION])
def test_k11_a_host_that_is_back_adopts_its_own(state, about_to_place, root, provider):
    url = provider.serve(b"", status=404)
    media_id = about_to_place(holdings.own_id(), url)
    strangers_file(root, row(media_id).file_path, tiny())
    row(media_id).state = state  # given up by another host meanwhile
    db.session.commit()

    assert collect.adopt_own() == 1

    assert (row(media_id).state, provider.gets(url)) == (State.STORED, 0)
    assert stored_bytes(row(media_id)) == tiny()
    assert collect.adopt_own() == 0


def test_k11_what_was_never_placed_is_downloaded_by_whoever_comes_first(
    about_to_place, provider, elsewhere
):
    media_id = about_to_place(holdings.own_id(), provider.serve(tiny()))

    assert collect.adopt_own() == 0

    assert (row(media_id).state, row(media_id).storage) == (State.PENDING, None)
    assert collect.collect(media_id) is True


def test_k11_another_hosts_are_not_adopted(about_to_place, elsewhere, provider, root):
    media_id = about_to_place(elsewhere, provider.serve(tiny()))
    strangers_file(root, row(media_id).file_path, tiny())

    assert collect.adopt_own() == 0

    assert row(media_id).state is State.DOWNLOADING


# --- a download that breaks off --------------------------------------------------------------


def in_two_halves(content: bytes) -> Behaviour:
    """Breaks off in the middle; gives the rest to whoever asks for it."""

    def behave(wire: Wire) -> None:
        etag, half = ("ETag", '"v1"'), len(content) // 2
        if wire.request.headers.get("range") == f"bytes={half}-":
            told = ("Content-Range", f"bytes {half}-{len(content) - 1}/{len(content)}")
            answer(content[half:], 206, headers=(etag, told))(wire)
        else:
            answer(content[:half], length=len(content), headers=(etag,))(wire)

    return behave


@pytest.fixture
def broken_off(hostile, announced, monkeypatch, root):
    """A large photo of which the first half has come; its id and its bytes."""
    monkeypatch.setattr(collect, "SMALLEST_KEPT", 1000)
    content = picture(600, 400)
    [media_id] = announced(hostile.serve(in_two_halves(content)))
    assert collect.collect(media_id) is False
    assert sum(path.stat().st_size == len(content) // 2 for path in all_files(root)) == 1
    return media_id, content


def later(**span: float) -> Any:
    return time_machine.travel(now() + timedelta(**span))


def test_a_file_that_broke_off_goes_on_at_the_next_attempt(broken_off, hostile, root):
    media_id, content = broken_off

    with later(minutes=1):
        assert collect.collect(media_id) is True

    assert stored_bytes(row(media_id)) == content
    assert row(media_id).sha256 == hashlib.sha256(content).hexdigest()
    assert [one.headers.get("range") for one in hostile.requests] == [
        None, f"bytes={len(content) // 2}-",
    ]  # fmt: skip
    assert all_files(root) == [root / row(media_id).file_path]


def test_the_beginning_of_another_address_is_not_gone_on_with(broken_off, provider, root):
    media_id, _ = broken_off
    media = row(media_id)
    media.openphone_url = provider.serve(tiny())
    db.session.commit()

    with later(minutes=1):
        assert collect.collect(media_id) is True

    assert stored_bytes(row(media_id)) == tiny()
    assert all_files(root) == [root / row(media_id).file_path]


def test_a_beginning_whose_note_was_lost_is_downloaded_from_the_start(broken_off, hostile, root):
    media_id, _ = broken_off
    [note] = root.rglob("*.note")
    note.write_text("")

    with later(minutes=1):
        collect.collect(media_id)

    assert [one.headers.get("range") for one in hostile.requests] == [None, None]


def test_what_nobody_went_on_with_is_tidied(broken_off, root):
    with later(hours=2):
        assert sweep.tidy() >= 1

    assert all_files(root) == []


def test_so_many_beginnings_are_kept_and_no_more(broken_off, hostile, announced, monkeypatch, root):
    monkeypatch.setattr(workspace, "MOST_KEPT", 1)
    [other] = announced(hostile.serve(in_two_halves(picture(600, 400, "red"))))

    assert collect.collect(other) is False

    assert len([path for path in all_files(root) if path.suffix == ".kept"]) == 1
