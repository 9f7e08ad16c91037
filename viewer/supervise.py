"""Process supervisor of one host: start, restart and stop its parts; leave no process behind.

Each part is a child process in a session of its own. Its descendants stay in that session, even an
RQ work horse, which leaves the process group: so a part is killed whole. A part that dies is
restarted, with exponential backoff. One that exits by itself at each start and never came up stops
the whole host: a port that is taken or an invalid setting does not go away.

If this process is killed, two mechanisms end the parts: the kernel sends each one SIGTERM
(PR_SET_PDEATHSIG), and the orphan reaper, this file run as a program of its own, kills what is left
some seconds later: a worker that finishes its job first, and its work horse.
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

GRACE = 10.0  # seconds after SIGTERM for a part to finish, before a second SIGTERM
LAST_GRACE = 3.0  # seconds after that, before SIGKILL
LONGEST_PAUSE = 15.0  # seconds, the maximum backoff between restarts
HEALTHY_AFTER = 10.0  # seconds of life that reset the backoff
LIVED_AFTER = 30.0  # seconds of life after which a part is restarted for ever; longer than a web
# server retries a port that is taken before it exits
TRIES = 5  # starts of a part that never came up

# Exit codes of a part that was killed from outside: no sign that it cannot run.
_KILLED = (-signal.SIGKILL, -signal.SIGTERM)

_PR_SET_PDEATHSIG = 1
# Loaded at import: between fork and exec in a threaded process, loading could deadlock.
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


@dataclass
class Part:
    """One child process: its command, state, and stop order (higher ranks stop first)."""

    name: str
    command: Sequence[str]
    environment: dict[str, str] = field(default_factory=dict)
    rank: int = 1
    is_vital: bool = True  # whether the host stops if this part never comes up
    process: subprocess.Popen[str] | None = None
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
    released only once every part has ended.
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
        start_new_session=True,  # Ctrl-C reaches only us; we stop the parts in order
        preexec_fn=die_with_parent,  # a single system call: safe although other threads run
        text=True,
    )
    log.info("%s started pid=%d", part.name, process.pid)
    return process


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


# --- A part and its descendants ------------------------------------------------------------


def _kill_session(leader: int) -> None:
    """Kill the part and all its descendants, such as a work horse."""
    if not Path("/proc").is_dir():  # not Linux: only the process group can be signalled
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(leader, signal.SIGKILL)
        return
    # Repeat until none is left: a process that is just being forked is not listed yet.
    for _ in range(20):
        members = _members(leader)
        for pid in members:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if not members:
            return
        time.sleep(0.01)


def _members(leader: int) -> list[int]:
    """The live processes of this session, even if its leader is dead."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        # The process may have exited by now.
        with contextlib.suppress(ProcessLookupError, FileNotFoundError):
            if _session_of(entry) == leader:
                found.append(int(entry.name))
    return found


def _session_of(entry: Path) -> int | None:
    # proc(5): the name, in parentheses, may itself hold some, so split at the last. Skip zombies.
    state, _parent, _group, session, *_ = (entry / "stat").read_text().rpartition(")")[2].split()
    return None if state == "Z" else int(session)


# --- The orphan reaper, which outlives a killed supervisor ---------------------------------


@dataclass(frozen=True)
class OrphanReaper:
    """A process that knows the parts, and kills them when its pipe to us closes."""

    process: subprocess.Popen[str]

    def remember(self, pid: int) -> None:
        self._tell(f"+{pid}")

    def forget(self, pid: int) -> None:
        self._tell(f"-{pid}")

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
            process.communicate()  # closes the pipe; the parts have ended, so it exits at once


def _reap_orphans() -> None:
    """The orphan reaper's main: wait until the supervisor is gone, then kill the parts it left."""
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
