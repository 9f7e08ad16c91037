"""Keep the parts of one host running: start, restart, stop; nothing is left behind.

Each part is a child in a process group of its own. A part that dies is started again, a little
later each time. If this process is killed, the kernel ends the parts (PR_SET_PDEATHSIG).
"""

import ctypes
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import FrameType

log = logging.getLogger(__name__)

GRACE = 10.0  # seconds a part has to finish what it does, before it is told again
LAST_GRACE = 3.0  # and then it is killed
LONGEST_PAUSE = 15.0  # seconds between two starts of a part that keeps dying
HEALTHY_AFTER = 10.0  # seconds of life that make the next pause short again

_PR_SET_PDEATHSIG = 1


@dataclass
class Part:
    """One child: its command, and in which rank it stops (higher ranks stop first)."""

    name: str
    command: Sequence[str]
    environment: dict[str, str] = field(default_factory=dict)
    rank: int = 1
    process: subprocess.Popen[str] | None = None
    started: float = 0.0
    pause: float = 0.5
    again_at: float = 0.0


def run(parts: Sequence[Part]) -> int:
    """Run the parts until SIGINT or SIGTERM. Returns the exit code for the shell."""
    stop = threading.Event()

    def asked(_signal: int, _frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, asked)
    try:
        while not stop.is_set():
            for part in parts:
                _look_after(part)
            stop.wait(0.2)
    finally:
        log.info("stopping")
        _stop(parts)
    return 0


def _look_after(part: Part) -> None:
    process = part.process
    if process is not None and process.poll() is not None:
        lived = time.monotonic() - part.started
        part.pause = 0.5 if lived > HEALTHY_AFTER else min(part.pause * 2, LONGEST_PAUSE)
        part.again_at = time.monotonic() + part.pause
        log.warning("%s ended with %s; again in %.1f s", part.name, process.returncode, part.pause)
        _signal_group(process, signal.SIGKILL)  # what it left behind, such as a work horse
        part.process = None
    if part.process is None and time.monotonic() >= part.again_at:
        part.process, part.started = _start(part), time.monotonic()


def _start(part: Part) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        part.command,
        env=os.environ | part.environment,
        stdin=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C reaches only us; we tell the parts, in order
        preexec_fn=_die_with_parent,  # noqa: PLW1509 - no threads run yet at this point
        text=True,
    )
    log.info("%s started pid=%d", part.name, process.pid)
    return process


def _die_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


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
            _signal_group(process, signal.SIGKILL)


def _all_ended(processes: Sequence[subprocess.Popen[str]], patience: float) -> bool:
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        if all(process.poll() is not None for process in processes):
            return True
        time.sleep(0.05)
    return False


def _signal_group(process: subprocess.Popen[str], number: int) -> None:
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        pass
