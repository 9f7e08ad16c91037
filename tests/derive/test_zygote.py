"""Children forked from a zygote: at once, by hundreds, and when the zygote itself is in trouble."""

import contextlib
import logging
import multiprocessing
import signal
import threading
import time
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from tests.support import samples
from tests.support.decoders import zygotes
from viewer import derive
from viewer.derive import DEFAULT_LIMITS, Killed, Unreadable, decoder

SMALL = samples.packed(samples.corner_picture(90, 60), "JPEG")
LARGE = samples.packed(samples.corner_picture(3000, 2000), "PNG")


@pytest.fixture(autouse=True)
def _warm():
    with derive.warm():
        yield
    assert zygotes() == []


def the_zygote() -> psutil.Process:
    [found] = zygotes()
    return found


@pytest.fixture
def begin(tmp_path):
    """Decode a picture that takes a while in a thread; what came of it."""
    (tmp_path / "large.png").write_bytes(LARGE)
    with ThreadPoolExecutor() as threads:

        def begin(name, limits=DEFAULT_LIMITS):
            (tmp_path / name).mkdir()
            return threads.submit(
                derive.derive, tmp_path / "large.png", "image/png", tmp_path / name, limits
            )

        yield begin


def children_of(zygote: psutil.Process, count: int) -> list[psutil.Process]:
    """As soon as there are so many, and the zygote has said so and waits for more."""
    while len(found := zygote.children()) < count or zygote.status() != psutil.STATUS_SLEEPING:
        time.sleep(0.002)
    return found


def test_two_threads_have_a_child_each_at_the_same_time(look, begin):
    look(SMALL)
    both = [begin("one"), begin("two")]

    pids = {child.pid for child in children_of(the_zygote(), 2)}
    made = [one.result() for one in both]

    assert len(pids) == 2
    assert [derived.width for derived in made] == [3000, 3000]
    assert all(derived.preview.exists() for derived in made)


def open_files(process: psutil.Process) -> set[tuple[str, str]]:
    """The number of each descriptor, and what it stands for."""
    found = set()
    for descriptor in Path(f"/proc/{process.pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found.add((descriptor.name, str(descriptor.readlink())))
    return found


@pytest.mark.proof
def test_hundreds_of_orders_leave_nothing_behind(look):
    def held():
        zygote = the_zygote()
        while any(  # it closes an order's just now
            file.startswith("socket:") and file != control for _, file in open_files(zygote)
        ):
            time.sleep(0.01)
        return zygote.num_fds(), zygote.children(), zygote.num_threads()

    def ours():
        return open_files(psutil.Process()) | set(threading.enumerate())

    look(SMALL)
    zygote = the_zygote()
    control = str(Path(f"/proc/{zygote.pid}/fd/0").readlink())
    before, ours_before = held(), ours()
    memory = zygote.memory_full_info().uss

    for number in range(300):
        if number % 3:
            assert look(SMALL).width == 90
        else:
            with pytest.raises(Unreadable):
                look(b"%PDF-1.7\n")

    assert the_zygote().pid == zygote.pid
    assert held() == before
    assert ours() - ours_before == set()  # a thread of an earlier test may have ended meanwhile
    assert zygote.memory_full_info().uss < memory + 1024**2


def test_a_zygote_that_has_loaded_every_decoder_has_one_thread(look, tmp_path):
    for format_ in ("JPEG", "HEIF", "AVIF", "WEBP", "TIFF", "GIF"):
        look(samples.packed(samples.corner_picture(90, 60), format_))
    look(samples.film(tmp_path / "film"))
    look(samples.sound(tmp_path / "sound", "aac", "mp4"))

    assert the_zygote().num_threads() == 1


def test_a_zygote_that_died_is_replaced_by_the_next_order(look):
    look(SMALL)
    dead = the_zygote()
    dead.kill()
    dead.wait(10)

    assert look(SMALL).width == 90
    assert the_zygote().pid != dead.pid


def test_an_order_whose_zygote_died_says_what_a_dead_child_says(look, begin):
    look(SMALL)
    zygote = the_zygote()
    order = begin("one")
    [child] = children_of(zygote, 1)

    zygote.kill()

    with pytest.raises(Killed, match="more computing time or memory than it may"):
        order.result()
    child.wait(10)
    assert look(SMALL).width == 90


def test_a_zygote_that_hangs_before_an_order_is_replaced(look, monkeypatch, caplog):
    look(SMALL)
    hanging = the_zygote()
    follow = decoder._Zygote._follow

    def follow_with_less_patience(zygote, *words):
        process = zygote._process  # None: the successor, which may take its time to start
        with monkeypatch.context() as changed:
            if process is not None and process.pid == hanging.pid:
                changed.setattr(decoder, "START_PATIENCE", 0.3)
            return follow(zygote, *words)

    monkeypatch.setattr(decoder._Zygote, "_follow", follow_with_less_patience)
    monkeypatch.setattr(decoder, "KILL_PATIENCE", 0.3)
    hanging.suspend()

    with caplog.at_level(logging.WARNING):
        assert look(SMALL).width == 90

    assert the_zygote().pid != hanging.pid
    assert "does not answer" in caplog.text


@pytest.mark.proof
def test_a_child_whose_zygote_hangs_is_killed_when_its_time_is_over(look, begin, monkeypatch):
    look(SMALL)
    zygote = the_zygote()
    monkeypatch.setattr(decoder, "KILL_PATIENCE", 0.3)
    order = begin("one", replace(DEFAULT_LIMITS, wall_seconds=0.5))
    [child] = children_of(zygote, 1)
    while child.cpu_times().user < 0.05:  # until it decodes
        time.sleep(0.002)
    child.suspend()
    zygote.suspend()

    with pytest.raises(Killed, match="longer than it may"):
        order.result()

    child.wait(10)
    assert look(SMALL).width == 90


def test_after_a_crash_the_next_child_has_other_addresses_and_the_others_go_on(look, begin):
    look(SMALL)
    first = the_zygote()
    both = [begin("one"), begin("two")]
    victim, other = children_of(first, 2)
    other.suspend()
    victim.send_signal(signal.SIGSEGV)
    wait(both, return_when=FIRST_COMPLETED)
    made_meanwhile = look(SMALL)
    new = [zygote for zygote in zygotes() if zygote.pid != first.pid]
    other.resume()
    ended = [order.exception() for order in both]

    assert made_meanwhile.width == 90
    assert len(new) == 1
    assert sorted(map(str, ended)) == ["None", "The decoder crashed (SIGSEGV)."]
    first.wait(10)
    assert zygotes() == new


def test_a_zygote_that_cannot_start_leaves_the_work_to_fresh_interpreters(
    look, monkeypatch, caplog
):
    monkeypatch.setattr(derive, "_ZYGOTE", "raise ImportError('no decoder here')")

    with caplog.at_level(logging.WARNING):
        assert look(SMALL).width == 90

    assert "ImportError: no decoder here" in caplog.text


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # there is a thread then
@pytest.mark.parametrize("is_used_before", [False, True])
def test_a_forked_process_has_a_zygote_of_its_own(look, is_used_before):
    if is_used_before:
        look(SMALL)
    before = [zygote.pid for zygote in zygotes()]
    fork = multiprocessing.get_context("fork")
    (said, say), stay = fork.Pipe(duplex=False), fork.Event()

    def work():
        made = look(SMALL)
        say.send((made.width, the_zygote().pid))
        stay.wait(10)

    forked = fork.Process(target=work)
    forked.start()
    width, pid = said.recv()
    its_own = psutil.Process(pid)
    stay.set()
    forked.join()

    assert (width, forked.exitcode) == (90, 0)
    assert [zygote.pid for zygote in zygotes()] == before
    assert pid not in before
    its_own.wait(10)  # it ends with its process
    assert look(SMALL).width == 90


@pytest.mark.proof
def test_a_zygote_dies_with_its_worker_even_when_it_hangs(look):
    fork = multiprocessing.get_context("fork")
    said, say = fork.Pipe(duplex=False)

    def work():
        look(SMALL)
        zygote = the_zygote()
        zygote.suspend()
        say.send(zygote.pid)
        time.sleep(60)

    worker = fork.Process(target=work)
    worker.start()
    zygote = psutil.Process(said.recv())
    worker.kill()
    worker.join()

    zygote.wait(10)


def test_a_thread_that_ends_does_not_take_the_zygote_along(look):
    started = threading.Thread(target=look, args=(SMALL,))
    started.start()
    started.join()
    zygote = the_zygote()

    assert look(SMALL).width == 90
    assert the_zygote().pid == zygote.pid
