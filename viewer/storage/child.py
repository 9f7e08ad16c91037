"""Other people's programs, held to a deadline, whose words become ours.

Unavailable
  Failed   the program ended with another status than 0
"""

import contextlib
import os
import select
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from viewer.storage.store import Unavailable

_CHUNK = 1024 * 1024  # bytes


class Failed(Unavailable):
    """It ended with another status than 0. Who expects it looks at the status."""

    def __init__(self, status: int, words: str) -> None:
        self.status = status
        super().__init__(words)


class Running:
    """A program on its way, whose output can be read."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        errors: IO[bytes],
        name: str,
        meanings: Mapping[int, str],
    ) -> None:
        assert process.stdout is not None  # noqa: S101 - for the type checker
        self._output = process.stdout
        self._process = process
        self._errors = errors
        self._name = name
        self._meanings = meanings
        self._ready = select.poll()
        self._ready.register(self._output, select.POLLIN)
        self._rest = b""

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
        return Unavailable(f"{self._name} does not answer in time.")

    def _say(self, status: int, errors: bytes) -> str:
        words = errors.decode(errors="replace").strip().rpartition("\n")[2].strip()
        if status in self._meanings:
            return f"{self._meanings[status]} ({words or 'without a word'})."
        return f"{self._name} says: {words or f'status {status}'}"


def start(
    command: Sequence[str],
    name: str,
    seconds: float,
    *,
    stdin: Path | None = None,
    folder: Path | None = None,
    meanings: Mapping[int, str] | None = None,
) -> Running:
    """Start a program, for the caller to close, which must end within so many seconds.

    `meanings`: what its statuses mean, where that is more than its last line says.
    Raises Unavailable.
    """
    errors = tempfile.TemporaryFile()  # noqa: SIM115 - not a pipe, which a child of it may keep open
    try:
        with contextlib.ExitStack() as leaving:
            source = leaving.enter_context(stdin.open("rb")) if stdin else None
            process = subprocess.Popen(
                command,
                stdin=source or subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                bufsize=0,
                cwd=folder,
                start_new_session=True,
            )
    except OSError as error:
        errors.close()
        raise Unavailable(f"{command[0]} cannot be started ({error.strerror}).") from None
    running = Running(process, errors, name, meanings or {})
    running.allow(seconds)
    return running
