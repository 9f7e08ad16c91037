"""The parts of one host: kept running, stopped in order, never left behind."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.servers import wait_until
from viewer import supervise

ROOT = Path(__file__).parent.parent
pytestmark = pytest.mark.proof

# A part that notes its start and its end, and leaves a child in a process group of its own.
# `stubborn` ones do not listen to SIGTERM.
PART = """
import os, signal, sys, time
name, folder, stubborn = sys.argv[1], sys.argv[2], len(sys.argv) > 3
def note(what):
    with open(f"{folder}/notes", "a") as notes:
        notes.write(f"{what} {name} {os.getpid()}\\n")
def asked(*_):
    note("asked")
    if not stubborn:
        note("ended")
        os._exit(0)
signal.signal(signal.SIGTERM, asked)
if os.fork() == 0:
    os.setpgrp()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    note("horse")
    while True:
        time.sleep(60)
note("started")
while True:
    time.sleep(60)
"""

# What hangs in C, holds the interpreter's lock, and hears no signal but SIGKILL; the second time,
# it notes what its forerunner was at. It asks for a third process, and that lives.
HANGING = """
import ctypes, os, signal, sys, time, uuid
def hang(folder, watchdog):
    starts = len(open(f"{folder}/notes").read().split("started hanging")) - 1
    rows = ",".join(str(row) for row in watchdog.interrupted) or "none"
    with open(f"{folder}/notes", "a") as notes:
        notes.write(f"started hanging {os.getpid()}\\nat-{rows} hanging {os.getpid()}\\n")
    if starts == 1:
        sys.exit(75)
    with watchdog.watch(uuid.UUID(int=7), 0.5 if starts == 0 else 600):
        if starts == 0:
            signal.pthread_sigmask(signal.SIG_BLOCK, set(signal.Signals))
        ctypes.PyDLL(None).sleep(600)
"""

HOST = """
import functools, sys
from viewer import supervise, watchdog
folder, part, hanging, kind = sys.argv[1:5]
supervise.GRACE, supervise.LAST_GRACE, supervise.LONGEST_PAUSE = 1.0, 0.5, 0.6
def forked(words):
    sys.argv = ["part", *words]
    exec(part, {})
def made(name, rank, *words):
    words = [name, folder, *words]
    program = [sys.executable, "-c", part, *words]
    function = functools.partial(forked, words)
    return supervise.Part(name, program if kind == "program" else function, rank=rank)
parts = [made("cellar", 0), made("middle", 1), made("roof", 2)]
if {"hopeless", "spare"} & set(sys.argv):
    dying = (
        "import os, sys; notes = open(sys.argv[1] + '/notes', 'a');"
        "print('started dud', os.getpid(), file=notes, flush=True); sys.exit(3)"
    )
    command = [sys.executable, "-c", dying, folder]
    parts.append(supervise.Part("dud", command, rank=1, is_vital="hopeless" in sys.argv))
if "hanging" in sys.argv:
    space = {}
    exec(hanging, space)
    dog = watchdog.Watchdog()
    run = functools.partial(space["hang"], folder, dog)
    parts.append(supervise.Part("hanging", run, watchdog=dog))
if "killed" in sys.argv:
    supervise.TRIES = 2
if "stubborn" in sys.argv:
    parts.append(made("mule", 1, "stubborn"))
sys.exit(supervise.run(parts))
"""


class Host:
    """A program that supervises; what its parts noted."""

    def __init__(self, folder: Path, kind: str, *words: str) -> None:
        self.folder = folder
        with (folder / "log").open("a") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", HOST, str(folder), PART, HANGING, kind, *words],
                env=os.environ | {"PYTHONPATH": str(ROOT)},
                start_new_session=True,
                stderr=log,
            )

    def notes(self, what: str) -> list[tuple[str, int]]:
        path = self.folder / "notes"
        lines = path.read_text().splitlines() if path.exists() else []
        words = [line.split() for line in lines]
        return [(name, int(pid)) for verb, name, pid in words if verb == what]

    def wait_for(self, what: str, count: int) -> dict[str, int]:
        wait_until(lambda: len(self.notes(what)) >= count)
        return dict(self.notes(what))

    def notes_of_starts(self, name: str, count: int) -> list[int]:
        """The pids of the first starts of this part."""

        def pids() -> list[int]:
            return [pid for one, pid in self.notes("started") if one == name]

        wait_until(lambda: len(pids()) >= count)
        return pids()

    def said_by(self, name: str, prefix: str) -> list[tuple[str, int]]:
        lines = (self.folder / "notes").read_text().splitlines()
        words = [line.split() for line in lines]
        return [
            (verb.removeprefix(prefix), int(pid))
            for verb, one, pid in words
            if one == name and verb.startswith(prefix)
        ]

    def alive(self) -> list[tuple[str, int]]:
        return [
            (name, pid)
            for name, pid in self.notes("started") + self.notes("horse")
            if is_alive(pid)
        ]


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def descriptors(pid: int) -> set[str]:
    """What this process has open, as links such as `pipe:[123]`."""
    return {str(entry.readlink()) for entry in Path(f"/proc/{pid}/fd").iterdir()}


@pytest.fixture(params=["program", "function"])
def host(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Callable[..., Host]]:
    hosts: list[Host] = []

    def start(*words: str) -> Host:
        hosts.append(Host(tmp_path, request.param, *words))
        return hosts[-1]

    yield start
    for one in hosts:
        one.process.kill()
        one.process.wait()
        for _name, pid in one.alive():
            os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_parts_are_stopped_in_order_and_nothing_is_left(number, host):
    running = host()
    running.wait_for("started", 3)
    running.wait_for("horse", 3)

    running.process.send_signal(number)

    assert running.process.wait(60) == 0
    assert [name for name, _ in running.notes("ended")] == ["roof", "middle", "cellar"]
    assert running.alive() == []


def test_a_part_that_does_not_listen_is_asked_twice_and_then_killed(host):
    running = host("stubborn")
    running.wait_for("started", 4)

    running.process.terminate()

    assert running.process.wait(60) == 0
    assert [name for name, _ in running.notes("asked")].count("mule") == 2
    assert running.alive() == []


def test_a_part_that_is_killed_starts_again_and_what_it_left_is_gone(host):
    running = host()
    first = running.wait_for("started", 3)
    horse = running.wait_for("horse", 3)["middle"]

    os.kill(first["middle"], signal.SIGKILL)
    again = running.wait_for("started", 4)

    assert again["middle"] != first["middle"]
    assert not is_alive(horse)
    assert {name for name, pid in running.alive() if pid in first.values()} == {"cellar", "roof"}


@pytest.mark.parametrize("words", [(), ("stubborn",)])
def test_nothing_outlives_a_supervisor_that_is_killed(words, host):
    running = host(*words)
    running.wait_for("started", 3 + len(words))
    running.wait_for("horse", 3 + len(words))

    running.process.kill()

    wait_until(lambda: running.alive() == [])
    assert "roof" in dict(running.notes("ended"))  # it was asked before it was killed


def test_ctrl_c_reaches_only_the_supervisor(host):
    running = host()
    running.wait_for("started", 3)

    os.killpg(running.process.pid, signal.SIGINT)  # as a terminal does: the whole foreground

    assert running.process.wait(60) == 0
    assert [name for name, _ in running.notes("ended")] == ["roof", "middle", "cellar"]


def test_a_part_that_never_lived_is_given_up_and_the_others_are_stopped_in_order(host):
    running = host("hopeless")

    assert running.process.wait(60) == 1
    assert len([name for name, _ in running.notes("started") if name == "dud"]) == supervise.TRIES
    assert [name for name, _ in running.notes("ended")] == ["roof", "middle", "cellar"]
    assert running.alive() == []
    [reason] = [
        line for line in (running.folder / "log").read_text().splitlines() if "never" in line
    ]
    assert "dud" in reason


def test_a_part_that_the_others_can_do_without_is_tried_for_ever(host):
    running = host("spare")

    running.wait_for("started", 3 + supervise.TRIES + 2)

    assert running.process.poll() is None
    # The dud itself may just be trying again; the others never ended and were started once.
    others = [(name, pid) for name, pid in running.notes("started") if name != "dud"]
    assert sorted(name for name, _pid in others) == ["cellar", "middle", "roof"]
    assert all(is_alive(pid) for _name, pid in others)


def test_a_part_that_others_kill_is_never_given_up(host):
    running = host("killed")  # which has two tries only
    for count in range(3, 7):
        running.wait_for("started", count)
        os.kill(running.notes("started")[-1][1], signal.SIGKILL)

    running.wait_for("started", 7)

    assert running.process.poll() is None


def test_a_part_that_hangs_in_c_is_killed_and_its_successor_knows_where(host):
    running = host("hanging")

    first, second, third = running.notes_of_starts("hanging", 3)

    assert first != second != third
    assert not is_alive(first)
    row = "00000000-0000-0000-0000-000000000007"
    assert [what for what, _ in running.said_by("hanging", "at-")] == ["none", row, "none"]
    others = [name for name, _ in running.notes("started") if name != "hanging"]
    assert sorted(others) == ["cellar", "middle", "roof"]  # each once
    assert is_alive(third)


def test_forked_parts_hold_no_lock_and_no_pipe_of_their_supervisor(host, tmp_path):
    running = host()
    parts = running.wait_for("started", 3)

    held = {name: descriptors(pid) for name, pid in parts.items()}

    reaper_pipe = {link for link in descriptors(running.process.pid) if "pipe" in link}
    assert reaper_pipe
    for links in held.values():
        assert links & reaper_pipe == set()
