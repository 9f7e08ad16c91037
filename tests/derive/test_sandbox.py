"""A hostile file costs a bounded piece of one child, and nothing else."""

import contextlib
import multiprocessing
import os
import re
import signal
import struct
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from tests.support import samples
from tests.support.decoders import decoders, zygotes
from viewer import derive
from viewer.derive import DEFAULT_LIMITS, Killed, Unreadable

needs_root = pytest.mark.skipif(
    os.geteuid() != 0, reason="needs root: nobody else may look into a decoder"
)

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


@pytest.fixture(params=[contextlib.nullcontext, derive.warm], ids=["cold", "warm"], autouse=True)
def way(request):
    """Each child a fresh interpreter, or forked from a zygote: the same holds of both."""
    with request.param():
        yield request.node.callspec.id


@pytest.fixture
def hostile(monkeypatch):
    """Let children run this code in place of the decoder, confined as it would be.

    `before` runs first, where nothing confines yet.
    """

    def take_over(code, before=""):
        taken = (
            f"def _do(*_):\n{textwrap.indent(textwrap.dedent(code), '    ')}\nsandbox._do = _do\n"
        )
        sandbox = "from viewer.derive import sandbox\n"
        boot = f"{derive._PACKAGES}{sandbox}{taken}{before}\n{derive._BOOT}"
        monkeypatch.setattr(derive, "_BOOT", boot)

    return take_over


def first_decoder() -> psutil.Process:
    """As soon as it is well into its file."""
    while not (found := decoders()) or found[0].cpu_times().user < 0.3:
        time.sleep(0.01)
    return found[0]


@pytest.fixture
def beside(endless, tmp_path):
    """Begin to decode the endless recording in a thread; what came of it, or None."""
    with ThreadPoolExecutor() as threads:

        def begin(name="beside", **limits):
            (tmp_path / name).mkdir()
            limits = replace(DEFAULT_LIMITS, cpu_seconds=5, **limits)
            return threads.submit(derive.derive, endless, "audio/wav", tmp_path / name, limits)

        yield begin


class CalledOff(Exception):
    """What the alarm of a job queue raises in the middle of whatever the job is doing."""


@pytest.mark.parametrize(
    "limits",
    [
        {"memory_bytes": 60 * 1024**2},
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
        look(PHOTO, replace(DEFAULT_LIMITS, memory_bytes=60 * 1024**2))

    assert look(PHOTO).width == 3000


@pytest.mark.proof
def test_a_child_that_watches_its_time_ends_before_it_is_killed(endless, tmp_path, caplog):
    recording = derive.derive(
        endless, "audio/wav", tmp_path, replace(DEFAULT_LIMITS, cpu_seconds=4)
    )

    assert recording.duration_seconds == pytest.approx(125_000, rel=0.001)
    assert recording.problem == "It is too long for us to draw its waveform."
    assert caplog.text == ""


def test_what_was_known_before_the_child_was_killed_is_kept(endless, tmp_path, monkeypatch):
    blind = "from viewer.derive.budget import Budget\nBudget.is_spent = lambda *_: False\n"
    monkeypatch.setattr(derive, "_BOOT", derive._PACKAGES + blind + derive._BOOT)

    recording = derive.derive(
        endless, "audio/wav", tmp_path, replace(DEFAULT_LIMITS, cpu_seconds=1)
    )

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


def test_child_dies_with_the_job_that_waits_for_it(endless, tmp_path, way):
    fork = multiprocessing.get_context("fork")  # as a work horse comes to be
    job = fork.Process(target=derive.derive, args=(endless, "audio/wav", tmp_path))
    job.start()
    depth = 1 if way == "cold" else 2  # the zygote began in the process that needs it
    while len(children := psutil.Process(job.pid).children(recursive=True)) < depth:
        assert job.is_alive()
    while children[-1].cpu_times().user < 0.4:  # well into the file
        assert children[-1].is_running()
        time.sleep(0.02)

    job.kill()
    job.join()
    _, alive = psutil.wait_procs(children, timeout=10)

    assert not alive


@needs_root
def test_child_inherits_no_secrets_and_ends_when_the_job_is_called_off(
    endless, tmp_path, monkeypatch
):
    monkeypatch.setenv("SECRET_KEY", "not-for-decoders")
    seen = {}

    def call_off(*_):
        seen["environments"] = [process.environ().keys() for process in zygotes() + decoders()]
        raise CalledOff

    previous = signal.signal(signal.SIGALRM, call_off)
    signal.setitimer(signal.ITIMER_REAL, 0.4)
    try:
        with pytest.raises(CalledOff):
            derive.derive(endless, "audio/wav", tmp_path)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)

    assert seen["environments"]
    assert all(keys <= {"MALLOC_ARENA_MAX", "LC_CTYPE"} for keys in seen["environments"])
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


# --- what a child can see and reach --------------------------------------------------------------


@needs_root
def test_a_child_has_nothing_of_our_memory(beside):
    secret = os.urandom(16).hex()
    begun = beside()

    child = first_decoder()
    seen = [memory_holds(process, secret) for process in [child, *zygotes()]]
    held_by_us = memory_holds(psutil.Process(), secret)
    child.kill()
    begun.exception()

    assert held_by_us  # so that we would see it
    assert not any(seen)


def memory_holds(process: psutil.Process, secret: str) -> bool:
    with Path(f"/proc/{process.pid}/mem").open("rb", buffering=0) as memory:
        for line in Path(f"/proc/{process.pid}/maps").read_text().splitlines():
            begin, end, rights, file = re.match(
                r"(\w+)-(\w+) (\S+) \S+ \S+ \S+ *(.*)", line
            ).groups()
            if "r" not in rights or file in {"[vvar]", "[vvar_vclock]", "[vsyscall]"}:
                continue
            memory.seek(int(begin, 16))
            with contextlib.suppress(OSError):  # holes
                if secret.encode() in memory.read(int(end, 16) - int(begin, 16)):
                    return True
    return False


@needs_root
def test_a_child_has_the_descriptors_of_its_own_order_alone(beside, endless, tmp_path):
    with (tmp_path / "ours").open("w") as ours:
        os.set_inheritable(ours.fileno(), True)
        begun = [beside("one"), beside("two")]
        while len(decoders()) < 2:
            time.sleep(0.01)
        first_decoder()

        held = []
        for child in decoders():
            folder = Path(f"/proc/{child.pid}/fd")
            held.append({int(fd.name): str(fd.readlink()) for fd in folder.iterdir()})
            flags = Path(f"/proc/{child.pid}/fdinfo/0").read_text()
            assert int(re.search(r"flags:\s+(\d+)", flags)[1], 8) & os.O_ACCMODE == os.O_RDONLY
            assert os.getsid(child.pid) == child.pid
        folders = {child.cwd() for child in decoders()}
        for child in decoders():
            child.kill()
        for one in begun:
            one.exception()

    assert [set(descriptors) for descriptors in held] == [{0, 1, 2}, {0, 1, 2}]
    assert all(descriptors[0] == str(endless) for descriptors in held)
    assert len({descriptors[number] for descriptors in held for number in (1, 2)}) == 4
    assert folders == {str(tmp_path / "one"), str(tmp_path / "two")}


def test_nothing_of_one_original_is_left_for_the_next(hostile, tmp_path):
    hostile(
        """
        import sys
        from viewer.derive.types import Described
        found, sys.left = getattr(sys, "left", None), "of the one before"
        yield Described(camera=found)
        """
    )
    (tmp_path / "photo.png").write_bytes(PHOTO)

    said = [derive.describe(tmp_path / "photo.png", "image/png", tmp_path) for _ in range(3)]

    assert [described.camera for described in said] == [None, None, None]


def test_a_decoder_lets_webhooks_and_pages_go_first(hostile, tmp_path):
    hostile(
        """
        import os
        from viewer.derive.types import Described
        yield Described(camera=str(os.getpriority(os.PRIO_PROCESS, 0)))
        """
    )
    (tmp_path / "photo.png").write_bytes(PHOTO)

    assert derive.describe(tmp_path / "photo.png", "image/png", tmp_path).camera == "10"


def test_patience_with_one_cut_photo_is_not_left_for_the_next(look):
    whole = samples.packed(samples.corner_picture(1200, 900), "JPEG")

    assert [look(whole[: len(whole) // 2]).is_incomplete for _ in range(2)] == [True, True]


# --- children that do not want to end -------------------------------------------------------------

BLOCKED = f"""
import ctypes, os, signal
os.fork()  # two of them
signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
ctypes.CDLL(None).sleep({600 + os.getpid()})
"""
# So that it may fork: where the kernel offers more, it may not (test_confinement.py).
WITHOUT_KERNEL = "sandbox.confinement.missing = lambda: ['Landlock', 'seccomp']"


def test_a_child_that_hangs_in_c_with_all_signals_blocked_is_killed_with_its_session(look, hostile):
    hostile(BLOCKED, WITHOUT_KERNEL)

    with pytest.raises(Killed, match="longer than it may"):
        look(PHOTO, replace(DEFAULT_LIMITS, wall_seconds=0.5))

    _, alive = psutil.wait_procs(hanging(), timeout=5)  # until init has reaped the second
    assert alive == []


def hanging() -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if f"sleep({600 + os.getpid()})" in " ".join(process.cmdline()):
                found.append(process)
    return [process for process in found if process not in zygotes()]


def test_a_child_that_floods_its_errors_meets_its_limit_on_files(look, hostile):
    hostile("import sys\nwhile True: sys.stderr.write('no' * 1000)")

    with pytest.raises(Killed, match="The decoder stopped"):
        look(PHOTO, replace(DEFAULT_LIMITS, file_bytes=1_000_000))


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT, signal.SIGKILL])
def test_how_a_child_died_is_said(look, hostile, number):
    hostile(f"import os\nos.kill(os.getpid(), {number:d})")

    with pytest.raises(Killed) as killed:
        look(PHOTO)

    assert killed.value.reason == {
        signal.SIGKILL: "It needed more computing time or memory than it may."
    }.get(number, f"The decoder crashed ({number.name}).")


def test_a_child_that_breaks_says_why_in_the_log_and_not_to_staff(look, hostile, caplog):
    hostile("raise RuntimeError('what it was')")

    with pytest.raises(Killed) as killed:
        look(PHOTO)

    assert killed.value.reason == (
        "The decoder stopped at something in the file that it does not expect."
    )
    assert "decoder of image/png, exit status 1: RuntimeError: what it was" in caplog.text
