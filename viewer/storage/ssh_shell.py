"""Run short scripts of a shell on another host, over one connection that they share."""

import atexit
import contextlib
import functools
import logging
import os
import select
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from viewer.storage.ssh_address import SSHAddress
from viewer.storage.store import Unavailable

log = logging.getLogger(__name__)

CALL = 60.0  # seconds for a script
SLOWEST = 100_000.0  # bytes a second; a script that carries bytes gets that much longer
_CHUNK = 1024 * 1024  # bytes
_PERSIST = 60  # seconds for which the connection stays open after the last script
_CANNOT_CONNECT = 255  # ssh's own status


class Failed(Unavailable):
    """The script ended with another status than 0. Who expects it looks at the status."""

    def __init__(self, status: int, words: str) -> None:
        self.status = status
        super().__init__(words)


class Running:
    """A script on its way, whose output can be read."""

    def __init__(self, process: subprocess.Popen[bytes], errors: IO[bytes], host: str) -> None:
        assert process.stdout is not None  # noqa: S101 - for the type checker
        self._output = process.stdout
        self._process = process
        self._errors = errors
        self._host = host
        self._ready = select.poll()
        self._ready.register(self._output, select.POLLIN)
        self._rest = b""
        self.allow(CALL)

    def allow(self, seconds: float) -> None:
        """It must end within so many seconds from now."""
        self._deadline = time.monotonic() + seconds

    def read(self, size: int) -> bytes:
        """The next bytes, fewer only at the end. Raises Unavailable."""
        pieces, missing = [self._rest], size - len(self._rest)
        while missing > 0 and (piece := self._receive()):
            pieces.append(piece)
            missing -= len(piece)
        found = b"".join(pieces)
        self._rest = found[size:]
        return found[:size]

    def read_line(self) -> bytes:
        """The bytes up to the next line break, fewer only at the end. Raises Unavailable."""
        while b"\n" not in self._rest and (piece := self._receive()):
            self._rest += piece
        line, end, self._rest = self._rest.partition(b"\n")
        return line + end

    def read_all(self) -> bytes:
        """All that is left. Raises Unavailable."""
        return b"".join(iter(lambda: self.read(_CHUNK), b""))

    def finish(self) -> None:
        """Wait for its end. Raises Failed, Unavailable."""
        try:
            status = self._process.wait(max(0.0, self._deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise self._late() from None
        if status:
            self._errors.seek(0)
            raise Failed(status, self._say(status, self._errors.read(20_000)))

    def close(self) -> None:
        """End it, however far it is. Idempotent."""
        self._process.kill()
        self._process.wait()
        self._output.close()
        self._errors.close()

    def _receive(self) -> bytes:
        # Killing ssh would end no waiting for it: the connection, which is shared, has its output.
        left = max(0.0, self._deadline - time.monotonic())
        if not self._ready.poll(left * 1000):
            raise self._late()
        return os.read(self._output.fileno(), _CHUNK)

    def _late(self) -> Unavailable:
        return Unavailable(f"{self._host} does not answer in time.")

    def _say(self, status: int, errors: bytes) -> str:
        words = errors.decode(errors="replace").strip().rpartition("\n")[2].strip()
        if status == _CANNOT_CONNECT:
            return f"{self._host} cannot be reached over ssh ({words or 'without a word'})."
        return f"{self._host} says: {words or f'status {status}'}"


class Shell:
    """A POSIX shell on another host. Keys and known hosts are those of ssh's configuration."""

    def __init__(self, address: SSHAddress, config: Path | None) -> None:
        self._address = address
        self._config = config

    @property
    def host(self) -> str:
        return self._address.host

    def run(self, script: str, stdin: Path | None = None) -> bytes:
        """The output of a script, which may read this file. Raises Failed, Unavailable."""
        with self.running(script, stdin) as running:
            output = running.read_all()
            running.finish()
            return output

    @contextlib.contextmanager
    def running(self, script: str, stdin: Path | None = None) -> Iterator[Running]:
        """A script whose output is read as it comes. Raises Unavailable."""
        running = self.start(script, stdin)
        try:
            yield running
        finally:
            running.close()

    def start(self, script: str, stdin: Path | None = None) -> Running:
        """The same, for the caller to close."""
        errors = tempfile.TemporaryFile()  # noqa: SIM115 - not a pipe, which the connection in the
        try:  # background would keep open
            with contextlib.ExitStack() as leaving:
                source = leaving.enter_context(stdin.open("rb")) if stdin else None
                process = subprocess.Popen(
                    self._command(script),
                    stdin=source or subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    bufsize=0,
                    start_new_session=True,
                )
        except OSError as error:
            errors.close()
            raise Unavailable(f"ssh cannot be started ({error.strerror}).") from None
        running = Running(process, errors, self.host)
        if stdin:
            running.allow(CALL + stdin.stat().st_size / SLOWEST)
        return running

    def _command(self, script: str) -> list[str]:
        address = self._address
        options = {
            "BatchMode": "yes",  # ask nobody for a password
            "StrictHostKeyChecking": "yes",  # a host that is not known may be anybody's
            "ConnectTimeout": "10",
            "ServerAliveInterval": "15",
            "ServerAliveCountMax": "2",
            "ForwardAgent": "no",
            "ForwardX11": "no",
            "ControlMaster": "auto",
            "ControlPath": f"{_sockets(os.getpid())}/%C",
            "ControlPersist": str(_PERSIST),
        }
        return [
            "ssh",
            *(["-F", str(self._config)] if self._config else []),
            *(word for name, value in options.items() for word in ("-o", f"{name}={value}")),
            *(["-l", address.user] if address.user else []),
            *(["-p", str(address.port)] if address.port else []),
            "-T", "--", address.host,
            # Whatever shell that user has.
            f"exec env LC_ALL=C sh -c {shlex.quote(script)}",
        ]  # fmt: skip


@functools.cache
def _sockets(pid: int) -> Path:
    """A folder with a short name, for the sockets of this process's connections."""
    folder = Path(tempfile.mkdtemp(prefix="viewer-ssh-", dir="/tmp"))
    atexit.register(_forget, folder, pid)
    return folder


def _forget(folder: Path, pid: int) -> None:
    if os.getpid() == pid:  # not that of a fork
        shutil.rmtree(folder, ignore_errors=True)
