"""Process supervisor of one host: start, restart and stop its parts; leave no process behind.

A part is a program, or a function: its process is then forked from this one and shares the memory
of all that is imported here. Each is in a session of its own, and its descendants stay in that
session: so a part is killed whole. One that dies is restarted, with exponential backoff; one that
hangs (`Watchdog`, `Liveness`) is killed first. A part that exits by itself at each start and never
came up stops the whole host: a port that is taken or an invalid setting does not go away.

If this process is killed, two mechanisms end the parts: the kernel sends each one SIGTERM
(PR_SET_PDEATHSIG), and the orphan reaper kills what is left some seconds later.
"""

import atexit
import contextlib
import ctypes
import gc
import logging
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import NoReturn, Protocol

import setproctitle

from viewer import orphan_reaper
from viewer.liveness import Liveness
from viewer.watchdog import Watchdog

log = logging.getLogger(__name__)

GRACE = 10.0  # seconds after SIGTERM for a part to finish, before a second SIGTERM
LAST_GRACE = 3.0  # seconds after that, before SIGKILL
LONGEST_PAUSE = 15.0  # seconds, the maximum backoff between restarts
HEALTHY_AFTER = 10.0  # seconds of life that reset the backoff
LIVED_AFTER = 30.0  # seconds of life after which a part is restarted for ever; longer than a web
# server retries a port that is taken before it exits
TRIES = 5  # starts of a part that never came up

RESTART = 75  # exit code of a part that asks for a new process at once (sysexits.h: EX_TEMPFAIL)

# Exit codes of a part that was killed from outside: no sign that it cannot run.
_KILLED = (-signal.SIGKILL, -signal.SIGTERM)

_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_PR_SET_PDEATHSIG = 1
# Loaded at import: between fork and exec in a threaded process, loading could deadlock.
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


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
    watchdog: Watchdog | None = None
    liveness: Liveness | None = None
    process: Child | None = None
    started: float = 0.0
    pause: float = 0.5
    again_at: float = 0.0
    failures: int = 0  # consecutive starts after which it exited by itself
    has_lived: bool = False

    @property
    def is_hopeless(self) -> bool:
        return self.is_vital and not self.has_lived and self.failures >= TRIES


def run(parts: Sequence[Part], inherited: Sequence[int] = (), private: Sequence[int] = ()) -> int:
    """Run the parts until SIGINT, SIGTERM or SIGHUP, or until a vital one never comes up.

    Returns the exit code. The orphan reaper keeps the descriptors `inherited` open: locks that are
    released only once every part has ended. The parts have neither these nor the `private` ones.
    Call it without threads and without open connections: parts are forked from here.
    """
    is_asked, code = False, 0

    def ask(_signal: int, _frame: FrameType | None) -> None:
        # No Event: its lock may be held by what the signal interrupts, which then waits for ever.
        nonlocal is_asked
        is_asked = True

    for number in _STOP_SIGNALS:
        signal.signal(number, ask)
    gc.collect()
    gc.freeze()  # else a collection in a child copies every page that it shares with us
    with _orphan_reaper(inherited, private) as reaper:
        try:
            while not is_asked:
                for part in parts:
                    _look_after(part, reaper)
                if hopeless := next((part for part in parts if part.is_hopeless), None):
                    log.error(
                        "%s never came up: it ended %d times by itself; what it said is above",
                        hopeless.name, hopeless.failures,
                    )  # fmt: skip
                    code = 1
                    break
                time.sleep(0.2)
        finally:
            log.info("stopping")
            _stop(parts)
    return code


def _look_after(part: Part, reaper: "OrphanReaper") -> None:
    if part.process is not None:
        _kill_if_it_hangs(part, part.process)
        if (code := part.process.poll()) is not None:
            _clear_away(part, code, part.process.pid, reaper)
    if part.process is None and time.monotonic() >= part.again_at:
        part.process, part.started = _start(part, reaper), time.monotonic()
        reaper.remember(part.process.pid)


def _kill_if_it_hangs(part: Part, process: Child) -> None:
    if process.poll() is not None:
        return
    is_silent = part.liveness is not None and part.liveness.is_overdue()
    if is_silent or (part.watchdog is not None and part.watchdog.is_overdue()):
        rows = part.watchdog.rows() if part.watchdog else []
        log.error("%s hangs and is killed; rows: %s", part.name, rows)
        os.kill(process.pid, signal.SIGKILL)
        _all_ended([process], LAST_GRACE)


def _clear_away(part: Part, code: int, pid: int, reaper: "OrphanReaper") -> None:
    lived = time.monotonic() - part.started
    part.has_lived |= lived > LIVED_AFTER
    if code == RESTART:
        part.failures, part.pause, part.again_at = 0, 0.5, 0.0
    else:
        part.failures = 0 if code in _KILLED else part.failures + 1
        part.pause = 0.5 if lived > HEALTHY_AFTER else min(part.pause * 2, LONGEST_PAUSE)
        part.again_at = time.monotonic() + part.pause
        log.warning("%s ended with %s; again in %.1f s", part.name, code, part.pause)
    orphan_reaper.kill_session(pid)
    reaper.forget(pid)
    for observer in (part.watchdog, part.liveness):
        if observer:
            observer.clear()
    part.process = None


def _start(part: Part, reaper: "OrphanReaper") -> Child:
    if callable(part.runs):
        process: Child = _Forked(part.name, part.runs, reaper.private)
    else:
        process = subprocess.Popen(
            part.runs,
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C reaches only us; we stop the parts in order
            preexec_fn=die_with_parent,  # a single system call
            text=True,
        )
    log.info("%s started pid=%d", part.name, process.pid)
    return process


class _Forked:
    """A function that runs in a process of its own, forked from this one."""

    def __init__(self, name: str, function: Callable[[], None], private: Sequence[int]) -> None:
        parent = os.getpid()
        self._code: int | None = None
        # A signal that came before the child has its own handlers would be handled as ours.
        signal.pthread_sigmask(signal.SIG_BLOCK, _STOP_SIGNALS)
        self.pid = os.fork()
        if self.pid == 0:
            _be_part(name, function, parent, private)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOP_SIGNALS)

    def poll(self) -> int | None:
        if self._code is None:
            ended, status = os.waitpid(self.pid, os.WNOHANG)
            self._code = os.waitstatus_to_exitcode(status) if ended else None
        return self._code


def _be_part(
    name: str, function: Callable[[], None], parent: int, private: Sequence[int]
) -> NoReturn:
    """In the child: run the function as if it were a program. Nothing of the parent's goes on."""
    code = 1
    try:
        os.setsid()
        setproctitle.setproctitle(f"viewer: {name}")
        for number in _STOP_SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOP_SIGNALS)
        die_with_parent()
        for descriptor in private:
            os.close(descriptor)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)  # a terminal is the supervisor's
        atexit._clear()
        if os.getppid() == parent:  # else it died before we asked to be told
            function()
        code = 0
    except SystemExit as told:
        if isinstance(told.code, str):
            sys.stderr.write(f"{told.code}\n")
        code = told.code if isinstance(told.code, int) else int(bool(told.code))
    except BaseException:  # noqa: BLE001 - the edge of this process
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            atexit._run_exitfuncs()
            logging.shutdown()
            sys.stdout.flush()
        os._exit(code)


def die_with_parent() -> None:
    """In a new child: be ended with SIGTERM when the thread that made it ends."""
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
    private: tuple[int, ...]  # descriptors that a forked part closes: the pipe, and the locks

    def remember(self, pid: int) -> None:
        self._tell(f"+{pid}")

    def forget(self, pid: int) -> None:
        self._tell(f"-{pid}")

    def _tell(self, line: str) -> None:
        assert self.process.stdin is not None  # noqa: S101 - for the type checker
        # Without the orphan reaper the parts still run, and the kernel signals our death to them.
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()


@contextlib.contextmanager
def _orphan_reaper(inherited: Sequence[int], private: Sequence[int]) -> Iterator[OrphanReaper]:
    process = subprocess.Popen(
        # -I: modules in our folder must not shadow the standard library.
        [sys.executable, "-I", orphan_reaper.__file__],
        stdin=subprocess.PIPE,
        start_new_session=True,
        pass_fds=inherited,
        text=True,
    )
    assert process.stdin is not None  # noqa: S101 - for the type checker
    try:
        yield OrphanReaper(process, (process.stdin.fileno(), *inherited, *private))
    finally:
        with contextlib.suppress(BrokenPipeError):
            process.communicate()  # closes the pipe; the parts have ended, so it exits at once
