"""Keep the parts of one host running: start, restart, stop; nothing is left behind.

Each part is a child in a session of its own. What it starts itself stays in that session, also an
RQ work horse, which leaves the process group: so a part is ended whole. A part that dies is started
again, a little later each time. One that never came up, but ended itself each time, ends the whole
host: a port that is taken or a setting that is wrong stays so.

If this process is killed, two things end the parts: the kernel tells each of them
(PR_SET_PDEATHSIG), and the orphan reaper, this file run as a program of its own, ends what is left
some seconds later: a worker that finishes its job first, its work horse.
"""

import contextlib
import ctypes
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

log = logging.getLogger(__name__)

GRACE = 10.0  # seconds a part has to finish what it does, before it is told again
LAST_GRACE = 3.0  # and then it is killed
LONGEST_PAUSE = 15.0  # seconds between two starts of a part that keeps dying
HEALTHY_AFTER = 10.0  # seconds of life that make the next pause short again
LIVED_AFTER = 30.0  # seconds of life after which a part is never given up: a web server that finds
# its port taken tries for some seconds before it ends
TRIES = 5  # starts of a part that never lived

# How others end a part. It says nothing about whether the part can run.
_KILLED = (-signal.SIGKILL, -signal.SIGTERM)

_PR_SET_PDEATHSIG = 1
# Loaded here: between fork and exec, with threads about, nothing may load anything.
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


@dataclass
class Part:
    """One child: its command, and in which rank it stops (higher ranks stop first)."""

    name: str
    command: Sequence[str]
    environment: dict[str, str] = field(default_factory=dict)
    rank: int = 1
    is_vital: bool = True  # whether the host ends if this part never comes up
    process: subprocess.Popen[str] | None = None
    started: float = 0.0
    pause: float = 0.5
    again_at: float = 0.0
    failures: int = 0  # starts in a row that it ended itself
    has_lived: bool = False

    @property
    def is_hopeless(self) -> bool:
        return self.is_vital and not self.has_lived and self.failures >= TRIES


def run(parts: Sequence[Part], inherited: Sequence[int] = ()) -> int:
    """Run the parts until SIGINT or SIGTERM, or until one never lives. Returns the exit code.

    The orphan reaper keeps the descriptors `inherited` open: locks that are free once every part
    has ended.
    """
    stop, code = threading.Event(), 0

    def asked(_signal: int, _frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, asked)
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
    if process is not None and process.poll() is not None:
        lived = time.monotonic() - part.started
        part.pause = 0.5 if lived > HEALTHY_AFTER else min(part.pause * 2, LONGEST_PAUSE)
        part.again_at = time.monotonic() + part.pause
        part.failures = 0 if process.returncode in _KILLED else part.failures + 1
        part.has_lived |= lived > LIVED_AFTER
        log.warning("%s ended with %s; again in %.1f s", part.name, process.returncode, part.pause)
        _kill_session(process.pid)
        reaper.forget(process.pid)
        part.process = None
    if part.process is None and time.monotonic() >= part.again_at:
        part.process, part.started = _start(part), time.monotonic()
        reaper.remember(part.process.pid)


def _start(part: Part) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        part.command,
        env=os.environ | part.environment,
        stdin=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C reaches only us; we tell the parts, in order
        preexec_fn=_die_with_parent,  # one system call: nothing that threads could have locked
        text=True,
    )
    log.info("%s started pid=%d", part.name, process.pid)
    return process


def _die_with_parent() -> None:
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
                    process.send_signal(number)
            if _all_ended(running, patience):
                break
        for process in running:
            _kill_session(process.pid)


def _all_ended(processes: Sequence[subprocess.Popen[str]], patience: float) -> bool:
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        if all(process.poll() is not None for process in processes):
            return True
        time.sleep(0.05)
    return False


# --- A part and all that it started --------------------------------------------------------


def _kill_session(leader: int) -> None:
    """End the part and whatever it left behind, such as a work horse."""
    if not Path("/proc").is_dir():  # not Linux: only its process group can be named
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(leader, signal.SIGKILL)
        return
    # Again until there is none: what is just being forked is not in the list yet.
    for _ in range(20):
        members = _members(leader)
        for pid in members:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if not members:
            return
        time.sleep(0.01)


def _members(leader: int) -> list[int]:
    """The processes of this part's session, also if the part itself is dead."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        # It may be gone by now.
        with contextlib.suppress(ProcessLookupError, FileNotFoundError):
            if _session_of(entry) == leader:
                found.append(int(entry.name))
    return found


def _session_of(entry: Path) -> int | None:
    # Its name, in brackets, may hold anything, so count from the last one. Zombies are dead.
    state, _parent, _group, session, *_ = (entry / "stat").read_text().rpartition(")")[2].split()
    return None if state == "Z" else int(session)


# --- If we are killed ----------------------------------------------------------------------


@dataclass(frozen=True)
class OrphanReaper:
    """A process that knows the parts, and ends them when its line to us is cut."""

    process: subprocess.Popen[str]

    def remember(self, pid: int) -> None:
        self._tell(f"+{pid}")

    def forget(self, pid: int) -> None:
        self._tell(f"-{pid}")

    def _tell(self, line: str) -> None:
        assert self.process.stdin is not None  # noqa: S101 - for the type checker
        # Without it the parts run all the same; the kernel still tells them of our death.
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(f"{line}\n")
            self.process.stdin.flush()


@contextlib.contextmanager
def _orphan_reaper(inherited: Sequence[int]) -> Iterator[OrphanReaper]:
    process = subprocess.Popen(
        # -I: our folder's modules must not stand in for the library's.
        [sys.executable, "-I", __file__],
        stdin=subprocess.PIPE,
        start_new_session=True,
        pass_fds=inherited,
        text=True,
    )
    try:
        yield OrphanReaper(process)
    finally:
        with contextlib.suppress(BrokenPipeError):
            process.communicate()  # the parts have ended: it finds nothing to do


def _reap_orphans() -> None:
    """Wait until the one who started us is gone, then end the parts it left."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    parts: set[int] = set()
    for line in sys.stdin:
        change = parts.add if line[0] == "+" else parts.discard
        change(int(line[1:]))
    deadline = time.monotonic() + LAST_GRACE
    while any(_members(part) for part in parts) and time.monotonic() < deadline:
        time.sleep(0.05)
    for part in parts:
        _kill_session(part)


if __name__ == "__main__":
    _reap_orphans()
