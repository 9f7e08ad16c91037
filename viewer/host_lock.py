"""Allow one `viewer up` at a time per DATA_DIR: two would share one Valkey socket, and the first
to stop would remove it. And know whether anything of a viewer runs on it.

All are flock(2) locks: the kernel releases them however their process ends.

viewer.lock  Held by the supervisor alone. Its descriptor is close-on-exec, and forked parts close
             it, so that a part which outlives its supervisor does not block the next start.
parts.lock   Held by the supervisor, and by the orphan reaper, which inherits it on purpose and
             exits some seconds after the supervisor was killed, with all parts ended. The next
             start waits for it: a Valkey that is still stopping would remove the new one's socket.
use.lock     Shared by every command that works on the database, also `viewer web`, `work` and
             `schedule`, as long as it runs; their children inherit it. Held alone by `viewer db
             copy`, which a part that has nothing open at the moment must not escape.
"""

import contextlib
import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from viewer.config import PARTS_LOCK, USE_LOCK, VIEWER_LOCK, BadSetting

PATIENCE = 20.0  # seconds to wait for an earlier viewer's parts; its reaper kills them after 3
PATIENCE_FOR_USE = 2.0  # seconds to wait for a command that is just ending


class AlreadyRunning(Exception):
    """Another viewer uses this DATA_DIR."""


@dataclass(frozen=True, slots=True)
class Locks:
    """The descriptors of the two lock files."""

    own: int
    parts: int


@contextlib.contextmanager
def hold(data_dir: Path) -> Iterator[Locks]:
    """Hold both locks on this folder.

    Raises AlreadyRunning, and BadSetting if the folder cannot be used.
    """
    with _opened(data_dir, VIEWER_LOCK) as own, _opened(data_dir, PARTS_LOCK) as parts:
        if not _is_taken(own):
            raise AlreadyRunning(
                f"DATA_DIR: {data_dir} is in use by {_holder(own)}."
                " Stop that one first, or set another DATA_DIR."
            )
        _sign(own)
        deadline = time.monotonic() + PATIENCE
        while not _is_taken(parts):
            if time.monotonic() > deadline:
                raise AlreadyRunning(
                    f"DATA_DIR: parts of an earlier viewer still run on {data_dir}; end them first."
                )
            time.sleep(0.05)
        yield Locks(own, parts)


@contextlib.contextmanager
def use(data_dir: Path) -> Iterator[None]:
    """Share the use of this folder's database while the block runs.

    Raises AlreadyRunning where somebody holds it alone. Where the folder takes no lock (it is
    read-only, another user's, or on a disk without flock), nothing is shared.
    """
    try:
        # To share a lock needs no right to write: a second user may run the backup.
        descriptor = os.open(data_dir / USE_LOCK, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o640)
        with contextlib.suppress(PermissionError):  # it is another user's
            os.fchmod(descriptor, 0o640)  # whatever the umask
    except OSError:
        yield
        return
    try:
        with contextlib.suppress(OSError):
            if not _is_shared(descriptor):
                raise AlreadyRunning(
                    f"DATA_DIR: the database of {data_dir} is being copied (viewer db copy)."
                    " Start this when that has ended."
                )
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def hold_alone(data_dir: Path) -> Iterator[None]:
    """Hold the locks, with nothing of a viewer running on this folder.

    Raises AlreadyRunning, and BadSetting if the folder cannot be used.
    """
    with hold(data_dir), _opened(data_dir, USE_LOCK) as in_use:
        deadline = time.monotonic() + PATIENCE_FOR_USE
        while not _is_taken(in_use):
            if time.monotonic() > deadline:
                raise AlreadyRunning(
                    f"DATA_DIR: a viewer runs on {data_dir} (viewer web, work or schedule, or"
                    " another command). Stop it first."
                )
            time.sleep(0.05)
        yield


def _is_shared(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextlib.contextmanager
def _opened(folder: Path, name: str) -> Iterator[int]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise BadSetting(f"DATA_DIR: {folder} cannot be used: {error.strerror}") from None
    try:
        yield descriptor
    finally:
        os.close(descriptor)  # releases the lock, unless the orphan reaper has inherited it


def _is_taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:  # some network file systems do not support flock
        raise BadSetting(f"DATA_DIR: its files cannot be locked: {error.strerror}") from None
    return True


def _sign(descriptor: int) -> None:
    """Write who holds the lock, for the other process's error message."""
    words = {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "since": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
    }
    # A full disk must not stop a viewer that can still show photos.
    with contextlib.suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(words).encode(), 0)


def _holder(descriptor: int) -> str:
    try:
        found = json.loads(os.pread(descriptor, 1000, 0))
        return f"another viewer (pid {found['pid']} on {found['host']}, since {found['since']})"
    except (ValueError, KeyError, TypeError, OSError):  # it has not written it yet
        return "another viewer"
