"""Run short scripts of a shell on another host, over one connection that they share."""

import atexit
import contextlib
import functools
import os
import shlex
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from viewer.storage import child
from viewer.storage.child import Running
from viewer.storage.ssh.address import SSHAddress

CALL = 60.0  # seconds for a script
SLOWEST = 100_000.0  # bytes a second; a script that carries bytes gets that much longer
_PERSIST = 60  # seconds for which the connection stays open after the last script
_CANNOT_CONNECT = 255  # ssh's own status


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
        seconds = CALL + (stdin.stat().st_size / SLOWEST if stdin else 0)
        meanings = {_CANNOT_CONNECT: f"{self.host} cannot be reached over ssh"}
        command = self._command(script)
        return child.start(command, self.host, seconds, stdin=stdin, meanings=meanings)

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
