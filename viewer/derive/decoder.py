"""The worker's end of a zygote: start it, send it orders, notice that it died or hangs."""

import contextlib
import json
import logging
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

from viewer.derive.types import STARTED

log = logging.getLogger(__name__)

ENVIRONMENT = {"MALLOC_ARENA_MAX": "1"}  # else each thread reserves 64 MB of the allowance
START_PATIENCE = 20.0  # seconds for a zygote to start and fork; 0.1 on an idle machine
KILL_PATIENCE = 5.0  # seconds for it to kill a child, or to exit


class NotStarted(Exception):
    """No child was forked, so that nothing was decoded: another way may be tried at once."""


class Decoder:
    """A zygote that is started when first needed, and replaced when it died.

    Also when a child of its was killed: that child may have been under attack, and in all children
    of one zygote memory lies at the same addresses. The next one is forked from a new zygote, so
    that an attacker who guesses addresses learns as little as from fresh interpreters.

    Threads may call run() at the same time: each order has a socket and a child of its own. A
    process that was forked meanwhile starts a zygote of its own.
    """

    def __init__(self, command: Callable[[], Sequence[str]]) -> None:
        self._command = command
        self._zygote: _Zygote | None = None
        self._begin()

    def run(
        self, order: dict[str, Any], files: Sequence[IO[bytes]], into: Path, seconds: float
    ) -> int | None:
        """Have a child carry out the order. Its exit status, as Popen reports it.

        None if it took longer than `seconds` and was killed. Raises NotStarted.
        """
        folder = os.open(into, os.O_RDONLY | os.O_DIRECTORY)
        try:
            descriptors = [*(file.fileno() for file in files), folder]
            try:
                return self._run(order, descriptors, seconds)
            except NotStarted:  # it may have died since the last order
                return self._run(order, descriptors, seconds)
        finally:
            os.close(folder)

    def close(self) -> None:
        if self._zygote is not None and self._pid == os.getpid():
            self._zygote.retire()
            self._zygote.wait()

    def _begin(self) -> None:
        self._pid, self._lock = os.getpid(), threading.Lock()
        if self._zygote is not None:
            self._zygote.abandon()
        self._zygote = None

    def _run(self, order: dict[str, Any], descriptors: Sequence[int], seconds: float) -> int | None:
        zygote, status = self._current(), None
        try:
            status = zygote.run(order, descriptors, seconds)
        finally:
            if status is None or status < 0:
                zygote.retire()
        return status

    def _current(self) -> "_Zygote":
        if self._pid != os.getpid():
            self._begin()
        with self._lock:
            if self._zygote is None or self._zygote.is_retired:
                self._zygote = _Zygote(self._command())
            return self._zygote


class _Zygote:
    def __init__(self, command: Sequence[str]) -> None:
        self.is_retired = False
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control.settimeout(START_PATIENCE)
        self._lock = threading.Lock()  # of the control socket: it is not closed while one sends
        self._process: subprocess.Popen[bytes] | None = None
        # The zygote dies with the thread that started it (PR_SET_PDEATHSIG), and threads of a
        # worker come and go: this one waits until the zygote has ended.
        self._keeper = threading.Thread(
            target=self._keep, args=(command, theirs), name="zygote", daemon=True
        )
        self._keeper.start()

    def run(self, order: dict[str, Any], descriptors: Sequence[int], seconds: float) -> int | None:
        line, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with line, theirs:
            try:
                with self._lock:
                    packet = json.dumps(order).encode()
                    socket.send_fds(self._control, [packet], [theirs.fileno(), *descriptors])
            except OSError as error:
                raise NotStarted from error
            theirs.close()
            status = None
            try:
                status = self._follow(line, seconds)
            finally:
                if status is None:  # it took too long, or the job was called off
                    self._end(line)
            return status

    def _follow(self, line: socket.socket, seconds: float) -> int | None:
        line.settimeout(START_PATIENCE)
        try:
            if line.recv(len(STARTED)) != STARTED:
                raise NotStarted
        except OSError as error:  # it hangs, or died before it read the order
            raise NotStarted from error
        line.settimeout(seconds)
        try:
            status = line.recv(16)
        except TimeoutError:
            return None
        if not status:  # the zygote died, and the child with it
            self._keeper.join(KILL_PATIENCE)
            return -signal.SIGKILL
        return int(status)

    def _end(self, line: socket.socket) -> None:
        """Have the child killed. Returns when it is dead."""
        with contextlib.suppress(OSError):
            line.shutdown(socket.SHUT_WR)
        line.settimeout(KILL_PATIENCE)
        try:
            while line.recv(16):
                pass
        except TimeoutError:
            self._kill()
        except OSError:  # reset: it died with something unread
            self._keeper.join(KILL_PATIENCE)

    def retire(self) -> None:
        """Send it nothing more. It exits when the children that it has now have ended."""
        with self._lock:
            self.is_retired = True
            with contextlib.suppress(OSError):
                self._control.shutdown(socket.SHUT_RDWR)

    def abandon(self) -> None:
        """Forget it in a forked process, which is not its parent."""
        self._control.close()

    def wait(self) -> None:
        self._keeper.join(KILL_PATIENCE)
        if self._keeper.is_alive():
            self._kill()

    def _kill(self) -> None:
        """Kill it, and with it its children, by PR_SET_PDEATHSIG."""
        log.warning("the decoders' zygote does not answer and is killed")
        if self._process is not None:
            self._process.kill()
        self._keeper.join(KILL_PATIENCE)

    def _keep(self, command: Sequence[str], theirs: socket.socket) -> None:
        with TemporaryFile() as errors:
            try:
                with theirs:
                    self._process = subprocess.Popen(
                        [*command, str(os.getpid())],
                        stdin=theirs.fileno(),
                        stdout=subprocess.DEVNULL,
                        stderr=errors,
                        cwd="/",
                        env=ENVIRONMENT,
                        start_new_session=True,
                    )
                if status := self._process.wait():
                    errors.seek(0)
                    last = errors.read(64 * 1024).decode(errors="replace").strip().rpartition("\n")
                    log.warning("the decoders' zygote ended with %d: %s", status, last[2])
            except OSError as error:
                log.warning("the decoders' zygote could not be started: %s", error)
        with self._lock:
            self.is_retired = True
            self._control.close()
