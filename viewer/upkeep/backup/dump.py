"""Dump PostgreSQL with its own programs, within a deadline, and read the dump back.

NoCopy              there is no copy of the database; the message says why
  DamagedDatabase   because the database itself is damaged
"""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from viewer.storage import fsync_file

DEADLINE = 3 * 3600.0  # seconds for a dump, and for reading it back
_CHUNK = 1024 * 1024  # bytes
_NOT_COPIED = "The database could not be copied"


class NoCopy(Exception):
    """There is no copy of the database that could be relied on."""


class DamagedDatabase(NoCopy):
    """The database is damaged: a copy of it would push out the copies that are not."""


def check_tools(server: int) -> None:
    """Raises NoCopy unless pg_dump and pg_restore can serve this major version of the server."""
    for name in ("pg_dump", "pg_restore"):
        program = shutil.which(name)
        if program is None:
            raise NoCopy(f"{name} is not installed: it comes with PostgreSQL's client programs.")
        try:
            said = subprocess.run(
                [program, "--version"], capture_output=True, text=True, timeout=60, check=False
            ).stdout
        except (OSError, subprocess.TimeoutExpired):
            said = ""
        version = re.search(r"\b(\d+)\.", said)
        if version is None:
            raise NoCopy(f"{program} does not say its version.")
        if int(version[1]) < server:
            raise NoCopy(f"{program} is of version {version[1]}, and the server of {server}.")


def write(driver: Any, snapshot: str, path: Path) -> None:
    """Write the dump of an exported snapshot, durably, and read all of it. Raises NoCopy."""
    secret = path.with_name("pgpass")
    try:
        address = _address(driver, secret)
        command = [
            "pg_dump", "--format=custom", "--compress=1", f"--snapshot={snapshot}",
            "--lock-wait-timeout=60s", "--no-password", f"--dbname={address}",
        ]  # fmt: skip
        with path.open("xb") as out:
            _pump(command, out)
        path.chmod(0o400)
        fsync_file(path)
    except OSError as error:
        raise NoCopy(f"{_NOT_COPIED}: {error.strerror}.") from error
    finally:
        secret.unlink(missing_ok=True)
    # Reads every block; --list is content with a truncated dump.
    command = ["pg_restore", "--file=/dev/null", str(path)]
    with _running(command, f"{_NOT_COPIED}: the dump cannot be read") as read:
        read.stdout.read()


def load(driver: Any, path: Path) -> None:
    """Load a dump into the driver's database, whole or not at all. Raises NoCopy."""
    secret = path.with_name("pgpass")
    try:
        command = [
            "pg_restore", "--exit-on-error", "--single-transaction", "--no-owner",
            "--no-privileges", "--no-password", f"--dbname={_address(driver, secret)}", str(path),
        ]  # fmt: skip
        with _running(command, "The database could not be loaded: pg_restore failed") as restore:
            restore.stdout.read()
    except OSError as error:
        raise NoCopy(f"The database could not be loaded: {error.strerror}.") from error
    finally:
        secret.unlink(missing_ok=True)


def _address(driver: Any, secret: Path) -> str:
    """Where the driver is connected to, with the password in a file.

    It is not on the command line, which everybody on this host may read.
    """
    secret.touch(mode=0o600, exist_ok=False)
    secret.write_text(f"*:*:*:*:{_escaped(driver.info.password)}\n")
    return f"{driver.info.dsn} passfile='{secret}'"


def _pump(command: list[str], out: BinaryIO) -> None:
    with _running(command, f"{_NOT_COPIED}: pg_dump failed") as dump:
        # Through us: where the target fails, or we die, pg_dump ends with a broken pipe.
        while chunk := dump.stdout.read1(_CHUNK):
            out.write(chunk)


@contextlib.contextmanager
def _running(command: list[str], trouble: str) -> Iterator[Any]:
    """A program within its deadline. On any exit its whole process group is gone. Raises NoCopy."""
    said: list[bytes] = []
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        assert process.stderr is not None  # noqa: S101 - for the type checker
        errors = process.stderr
        log = threading.Thread(target=lambda: said.append(errors.read(20_000)), daemon=True)
        timer = threading.Timer(DEADLINE, _kill, [process])
        log.start()
        timer.start()
        try:
            yield process
            process.wait()
            has_expired = not timer.is_alive()
        finally:
            timer.cancel()
            _kill(process)
            log.join()
    if process.returncode or has_expired:
        words = b"".join(said).decode(errors="replace").strip().rpartition("\n")[2]
        if has_expired:
            words = f"it was ended after {DEADLINE:.0f} s"
        raise NoCopy(f"{trouble}: {words or 'without a word'}.")


def _kill(process: subprocess.Popen[bytes]) -> None:
    # The group may be there still although its leader ended.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def _escaped(password: str | None) -> str:
    return re.sub(r"([\\:])", r"\\\1", password or "")
