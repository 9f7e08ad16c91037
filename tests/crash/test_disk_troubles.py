"""Disks that are full, read-only, gone: no state lies, webhooks go on, all is stored later."""

import contextlib
import os
import time

import pytest

from tests.crash import checks, disks
from viewer.storage.workspace import INCOMING


@pytest.fixture(autouse=True)
def _mounts():
    disks.needs_mounts()


@contextlib.contextmanager
def _full(media, _machine):
    with disks.tmpfs(media, "size=256k"):
        ballast = media / INCOMING / "ballast"

        def spoil():
            ballast.parent.mkdir(exist_ok=True)
            with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
                while True:
                    file.write(bytes(4096))

        yield spoil, ballast.unlink


@contextlib.contextmanager
def _no_inodes(media, _machine):
    with disks.tmpfs(media, "size=8m,nr_inodes=20"):
        spoilers = [media / INCOMING / f"ballast-{n}" for n in range(20)]

        def spoil():
            (media / INCOMING).mkdir(exist_ok=True)
            with contextlib.suppress(OSError):
                for path in spoilers:
                    path.touch()

        def mend():
            for path in spoilers:
                path.unlink(missing_ok=True)

        yield spoil, mend


@contextlib.contextmanager
def _read_only(media, _machine):
    with disks.tmpfs(media, "size=8m"):
        yield lambda: disks.remount(media, "ro"), lambda: disks.remount(media, "rw")


@contextlib.contextmanager
def _immutable(media, machine):
    root = machine.media.path / media.parent.name
    root.mkdir()
    media.symlink_to(root)

    def chattr(change):
        disks.shell("chattr", change, str(root))
        if (root / INCOMING).is_dir():
            disks.shell("chattr", change, str(root / INCOMING))

    yield lambda: chattr("+i"), lambda: chattr("-i")


@contextlib.contextmanager
def _dead(media, machine):
    root = machine.media.path / media.parent.name
    root.mkdir()
    media.symlink_to(root)
    machine.media.sync()
    yield machine.media.die, machine.media.come_back


TROUBLES = [
    pytest.param(_full, "is full", id="49-full"),
    pytest.param(_no_inodes, "is full", id="52-no-inodes"),
    pytest.param(_read_only, "is read-only", id="56-read-only"),
    pytest.param(_immutable, "must not be written to", id="59-immutable"),
    pytest.param(_dead, "reports errors", id="55-dead"),
]


@pytest.mark.parametrize(("trouble", "words"), TROUBLES)
def test_a_disk_in_trouble_makes_photos_wait_and_costs_none(
    trouble, words, new_scene, machine, message, tmp_path
):
    media = tmp_path / "media"
    with trouble(media, machine) as (spoil, mend):
        scene = new_scene(tmp_path / "data", media)
        scene.announced(message(media=scene.photos(2)))
        spoil()

        scene.receive(message(media=scene.photos()))  # answered 204, whatever the disk does
        codes = [scene.run("ingest"), scene.run("collect"), scene.run("collect", later=(35.0,))]
        waiting, broken = scene.rows(), scene.violations()
        mend()
        recovered = scene.run("everything", later=(80.0, 150.0, 7300.0))
        unsettled = scene.unsettled()

    assert codes == [0, 0, 0]
    assert [row["state"] for row in waiting] == ["pending"] * 3
    assert all(words in row["problem"] for row in waiting)
    assert [row["failures"] for row in waiting] == [0] * 3  # it is not the source's fault
    assert (broken, recovered, unsettled) == ([], 0, [])


@pytest.mark.parametrize(
    "trouble",
    [
        pytest.param(_read_only, id="56-read-only"),
        pytest.param(_immutable, id="59-immutable"),
        pytest.param(_dead, id="55-dead"),
    ],
)
def test_a_sweep_that_cannot_tidy_up_goes_on_sweeping(
    trouble, new_scene, machine, message, tmp_path
):
    """An old part on a disk that refuses to delete it must not stop events from being read."""
    media = tmp_path / "media"
    with trouble(media, machine) as (spoil, mend):
        scene = new_scene(tmp_path / "data", media)
        (media / INCOMING).mkdir()
        old = media / INCOMING / "old.part"
        old.touch()
        os.utime(old, (time.time() - 9000, time.time() - 9000))
        spoil()
        scene.receive(message(media=scene.photos()))

        swept = scene.recover()
        waiting = scene.rows()
        mend()

    assert swept == 0
    assert [row["state"] for row in waiting] in (["pending"], ["needs_attention"])


def test_49_copies_wait_for_space_and_are_not_given_up(new_scene, machine, message, tmp_path):
    """A disk that is full for an hour is not three tries of the photo."""
    media = tmp_path / "media"
    with _full(media, machine) as (spoil, mend):
        scene = new_scene(tmp_path / "data", media)
        scene.announced(message(media=scene.photos()))
        assert scene.run("collect") == 0
        spoil()

        for turn in range(5):
            scene.run("copies", later=(turn * 100.0 + 1,))
        broken = scene.violations()
        mend()
        recovered = scene.run("everything", copies=True, later=(700.0, 800.0, 7900.0))
        [row], unsettled = scene.rows(), scene.unsettled()

    assert (broken, recovered, unsettled) == ([], 0, [])
    assert row["copy_state"] == "made"


def test_50_a_full_database_disk_answers_503_and_then_takes_the_delivery(
    new_scene, message, tmp_path
):
    """Never 2xx without a row: the provider comes again for more than a day."""
    data, media = tmp_path / "data", tmp_path / "media"
    with disks.tmpfs(data, "size=4m"):
        scene = new_scene(data, media)
        server = scene.start("serve")
        port, ballast = server.heard(), data / "ballast"
        text = message(media=scene.photos())

        with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        full = [scene.post(port, message(text="x" * 5000)) for _ in range(2)]
        ballast.unlink()
        free = scene.post(port, text)
        server.kill()
        recovered = scene.recover()
        unsettled = scene.unsettled()

    assert full == [503, 503]
    assert (free, recovered, unsettled) == (204, 0, [])


@pytest.mark.parametrize("spare", [0, 1, 2, 3])
def test_63_too_few_files_to_open_makes_a_photo_wait(spare, scene, message):
    """EMFILE at the part, at the socket, at the folder: whichever comes first."""
    scene.announced(message(media=scene.photos()))

    scene.run("collect", spare_files=spare)
    [row], broken = scene.rows(), scene.violations()
    recovered = scene.recover()

    assert broken == []
    assert row["state"] in ("pending", "downloading", "stored")
    assert (row["state"] == "pending") == bool(row["problem"])
    assert recovered == 0
    assert scene.unsettled() == []


def test_63_no_try_leaves_a_file_open(scene, message):
    """Failed downloads, stored photos and copies: the last of forty as the first."""
    dead = [scene.provider.serve(b"", status=503) for _ in range(3)]
    scene.announced(message(media=[*dead, *scene.photos(2)]))

    run = scene.start("count-files", count=40)
    first, last = run.heard(), run.heard()

    assert run.ended() == 0
    assert last <= first  # which may have a connection more, kept for the next download
    assert len(checks.originals(scene.media_root)) == 2
