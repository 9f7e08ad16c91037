"""Process supervisor of one host: start, restart and stop its parts; leave no process behind.

A part is a program, or a function: then its process is forked from this one, with all that is
imported here. Each is in a session of its own, and its descendants stay in that session: so a part
is killed whole. One that dies is restarted, with exponential backoff; one that hangs is killed
first (`watch`). A part that exits by itself at each start and never came up stops the whole host: a
port that is taken or an invalid setting does not go away.

If this process is killed, two mechanisms end the parts: the kernel sends each one SIGTERM
(PR_SET_PDEATHSIG), and the orphan reaper kills what is left some seconds later.
"""

import contextlib
import ctypes
import gc
import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from types import FrameType
from typing import Protocol

from viewer import orphan_reaper
from viewer.watch import Watch

log = logging.getLogger(__name__)

GRACE = 10.0  # seconds after SIGTERM for a part to finish, before a second SIGTERM
LAST_GRACE = 3.0  # seconds after that, before SIGKILL
LONGEST_PAUSE = 15.0  # seconds, the maximum backoff between restarts
HEALTHY_AFTER = 10.0  # seconds of life that reset the backoff
LIVED_AFTER = 30.0  # seconds of life after which a part is restarted for ever; longer than a web
# server retries a port that is taken before it exits
TRIES = 5  # starts of a part that never came up

RENEWED = 75  # exit code of a part that wants a new process: restarted at once (EX_TEMPFAIL)

# Exit codes of a part that was killed from outside: no sign that it cannot run.
_KILLED = (-signal.SIGKILL, -signal.SIGTERM)

_PR_SET_PDEATHSIG = 1
# Loaded at import: between fork and exec in a threaded process, loading could deadlock.
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None
_forking = multiprocessing.get_context("fork")


class Child(Protocol):
    """A process of ours, as `subprocess.Popen` describes it."""

    @property
    def pid(self) -> int: ...

    def poll(self) -> int | None: ...


@dataclass
class Part:
    """One child process: what it runs, its state, and stop order (higher ranks stop first)."""

    name: str
    runs: Sequence[str] | Callable[[], None]  # a command, or a function of this program
    rank: int = 1
    is_vital: bool = True  # whether the host stops if this part never comes up
    watch: Watch | None = None  # where it says what it is at, and until when
    process: Child | None = None
    started: float = 0.0
    pause: float = 0.5
    again_at: float = 0.0
    failures: int = 0  # consecutive starts after which it exited by itself
    has_lived: bool = False

    @property
    def is_hopeless(self) -> bool:
        return self.is_vital and not self.has_lived and self.failures >= TRIES


def run(parts: Sequence[Part], inherited: Sequence[int] = ()) -> int:
    """Run the parts until SIGINT, SIGTERM or SIGHUP, or until a vital one never comes up.

    Returns the exit code. The orphan reaper keeps the descriptors `inherited` open: locks that are
    released only once every part has ended. Call it without threads and without open connections:
    parts are forked from here.
    """
    stop, code = threading.Event(), 0

    def asked(_signal: int, _frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, asked)
    gc.collect()
    gc.freeze()  # a collection in a child would copy every page that it shares with us
    with _orphan_reaper(inherited) as reaper:
        try:
            while not stop.is_set():
                for part in parts:
                    _look_after(part, reaper)
                if hopeless := next((part for part in parts if part.is_hopeless), None):
                    log.error(
                        "%s never came up: it ended %d times by itself; what it said is above",
                        hopeless.name, hopeless.failures,
                    )  # fmt: skip
                    code = 1
                    break
                stop.wait(0.2)
        finally:
            log.info("stopping")
            _stop(parts)
    return code


def _look_after(part: Part, reaper: "OrphanReaper") -> None:
    process = part.process
    if process is not None and process.poll() is None and part.watch and part.watch.is_overdue():
        log.error("%s hangs, and is killed: %s", part.name, part.watch)
        _kill(process)
    if process is not None and (code := process.poll()) is not None:
        lived = time.monotonic() - part.started
        part.pause = 0.5 if lived > HEALTHY_AFTER else min(part.pause * 2, LONGEST_PAUSE)
        part.again_at = time.monotonic() + (0 if code == RENEWED else part.pause)
        part.failures = 0 if code in (*_KILLED, RENEWED) else part.failures + 1
        part.has_lived |= lived > LIVED_AFTER
        if code != RENEWED:
            log.warning("%s ended with %s; again in %.1f s", part.name, code, part.pause)
        orphan_reaper.kill_session(process.pid)
        reaper.forget(process.pid)
        part.process = None
    if part.process is None and time.monotonic() >= part.again_at:
        part.process, part.started = _start(part, reaper), time.monotonic()
        reaper.remember(part.process.pid)


def _start(part: Part, reaper: "OrphanReaper") -> Child:
    if callable(part.runs):
        process: Child = _Forked(part.runs, reaper)
    else:
        process = subprocess.Popen(
            part.runs,
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C reaches only us; we stop the parts in order
            preexec_fn=die_with_parent,  # a single system call: safe although other threads run
            text=True,
        )
    log.info("%s started pid=%d", part.name, process.pid)
    return process


class _Forked:
    """A function that runs in a process of its own, forked from this one."""

    def __init__(self, function: Callable[[], None], reaper: "OrphanReaper") -> None:
        self._process = _forking.Process(
            target=_run_forked, args=(function, reaper, os.getpid()), daemon=False
        )
        self._process.start()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None  # noqa: S101 - it was started
        return self._process.pid

    def poll(self) -> int | None:
        return self._process.exitcode


def _run_forked(function: Callable[[], None], reaper: "OrphanReaper", parent: int) -> None:
    os.setsid()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    die_with_parent()
    if os.getppid() != parent:  # it died before we asked
        return
    reaper.let_go()
    function()


def die_with_parent() -> None:
    """In a child, before exec: be ended with SIGTERM when the thread that made it ends."""
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _stop(parts: Sequence[Part]) -> None:
    for rank in sorted({part.rank for part in parts}, reverse=True):
        running = [part.process for part in parts if part.rank == rank and part.process]
        for number, patience in (
            (signal.SIGTERM, GRACE),
            (signal.SIGTERM, LAST_GRACE),
            (signal.SIGKILL, LAST_GRACE),
        ):
            for process in running:
                if process.poll() is None:
                    os.kill(process.pid, number)  # not waited for yet: nobody else has its number
            if _all_ended(running, patience):
                break
        for process in running:
            orphan_reaper.kill_session(process.pid)


def _kill(process: Child) -> None:
    os.kill(process.pid, signal.SIGKILL)
    _all_ended([process], LAST_GRACE)


def _all_ended(processes: Sequence[Child], patience: float) -> bool:
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        if all(process.poll() is not None for process in processes):
            return True
        time.sleep(0.05)
    return False


@dataclass(frozen=True)
class OrphanReaper:
    """A process that knows the parts, and kills them when its pipe to us closes."""

    process: subprocess.Popen[str]

    def remember(self, pid: int) -> None:
        self._tell(f"+{pid}")

    def forget(self, pid: int) -> None:
        self._tell(f"-{pid}")

    def let_go(self) -> None:
        """In a forked child: the pipe must close when the supervisor ends, not when we do."""
        assert self.process.stdin is not None  # noqa: S101 - for the type checker
        self.process.stdin.close()

    def _tell(self, line: str) -> None:
        assert self.process.stdin is not None  # noqa: S101 - for the type checker
        # Without the orphan reaper the parts still run, and the kernel signals our death to them.
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(f"{line}\n")
            self.process.stdin.flush()


@contextlib.contextmanager
def _orphan_reaper(inherited: Sequence[int]) -> Iterator[OrphanReaper]:
    process = subprocess.Popen(
        # -I: modules in our folder must not shadow the standard library.
        [sys.executable, "-I", orphan_reaper.__file__],
        stdin=subprocess.PIPE,
        start_new_session=True,
        pass_fds=inherited,
        text=True,
    )
    try:
        yield OrphanReaper(process)
    finally:
        with contextlib.suppress(BrokenPipeError):
            process.communicate()  # closes the pipe; the parts have ended, so it exits at once
