"""A hostile file costs a bounded piece of one child, and nothing else."""

import multiprocessing
import os
import signal
import struct
import time
from dataclasses import replace

import psutil
import pytest

from tests.support import samples
from viewer.derive import DEFAULT_LIMITS, Killed, Unreadable, derive

PHOTO = samples.packed(samples.corner_picture(3000, 2000), "PNG")


@pytest.fixture
def endless(tmp_path):
    """A recording of 35 hours of nothing: decoding it would take minutes."""
    path = tmp_path / "endless.wav"
    size = 10**9
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, 8000, 8000, 1, 8)
    head = b"RIFF" + struct.pack("<I", size) + b"WAVE" + form + b"data" + struct.pack("<I", size)
    path.write_bytes(head)
    os.truncate(path, size)  # a hole, so it takes no room
    return path


def decoders() -> list[psutil.Process]:
    """Our children that decode; the servers of other tests are our children, too."""
    return [
        child
        for child in psutil.Process().children()
        if "viewer.derive.sandbox" in " ".join(child.cmdline())
    ]


class CalledOff(Exception):
    """What the alarm of a job queue raises in the middle of whatever the job is doing."""


@pytest.mark.parametrize(
    "limits",
    [
        {"memory_bytes": 100 * 1024**2},
        {"cpu_seconds": 0},
        {"wall_seconds": 0.02},
        {"file_bytes": 1000},
        {"open_files": 3},
    ],
    ids=lambda limits: next(iter(limits)),
)
def test_each_limit_ends_the_child_and_says_so(look, limits):
    with pytest.raises(Killed) as killed:
        look(PHOTO, replace(DEFAULT_LIMITS, **limits))

    assert killed.value.reason.endswith(".") or ":" in killed.value.reason
    assert decoders() == []


def test_after_a_killed_child_the_next_photo_is_fine(look):
    with pytest.raises(Killed):
        look(PHOTO, replace(DEFAULT_LIMITS, memory_bytes=100 * 1024**2))

    assert look(PHOTO).width == 3000


def test_what_was_known_before_the_child_was_killed_is_kept(endless, tmp_path):
    recording = derive(endless, "audio/wav", tmp_path, replace(DEFAULT_LIMITS, cpu_seconds=1))

    assert recording.duration_seconds == pytest.approx(125_000, rel=0.001)
    assert recording.peaks is None
    assert "computing time" in recording.problem


def test_film_whose_copy_fails_keeps_its_poster(look, tmp_path):
    film = samples.film(tmp_path / "film", "libx264", "mov", frames=50, voice="aac")
    assert film.stat().st_size > 29_000

    kept = look(film, replace(DEFAULT_LIMITS, file_bytes=25_000))

    assert kept.thumbnail.exists()
    assert kept.width == 320
    assert kept.playable is None
    assert "could not be made" in kept.problem
    assert not list(kept.thumbnail.parent.glob("*.part"))


def test_child_dies_with_the_job_that_waits_for_it(endless, tmp_path):
    fork = multiprocessing.get_context("fork")  # as a work horse comes to be
    job = fork.Process(target=derive, args=(endless, "audio/wav", tmp_path))
    job.start()
    while not (children := psutil.Process(job.pid).children()):
        assert job.is_alive()
    while children[0].cpu_times().user < 0.4:  # well into the file
        assert children[0].is_running()
        time.sleep(0.02)

    job.kill()
    job.join()
    _, alive = psutil.wait_procs(children, timeout=10)

    assert not alive


def test_child_inherits_no_secrets_and_ends_when_the_job_is_called_off(
    endless, tmp_path, monkeypatch
):
    monkeypatch.setenv("SECRET_KEY", "not-for-decoders")
    seen = {}

    def call_off(*_):
        seen["environment"] = decoders()[0].environ()
        raise CalledOff

    previous = signal.signal(signal.SIGALRM, call_off)
    signal.setitimer(signal.ITIMER_REAL, 0.4)
    try:
        with pytest.raises(CalledOff):
            derive(endless, "audio/wav", tmp_path)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)

    assert seen["environment"].keys() <= {"MALLOC_ARENA_MAX", "LC_CTYPE"}
    assert decoders() == []


def test_copies_of_an_earlier_run_are_replaced(look):
    first = look(samples.packed(samples.corner_picture(900, 600), "JPEG"))
    size = first.preview.stat().st_size

    second = look(samples.packed(samples.corner_picture(90, 60), "JPEG"))

    assert second.preview == first.preview
    assert second.preview.stat().st_size < size


def test_documents_have_no_preview(look):
    with pytest.raises(Unreadable, match="no preview"):
        look(b"%PDF-1.7\n")
