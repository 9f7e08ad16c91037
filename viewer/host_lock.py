"""One `viewer up` at a time on a DATA_DIR: two would share one socket, and who stops takes it away.

Both locks are the kernel's (flock): any death frees them.

viewer.lock  of the supervisor alone. Its descriptor is closed on exec, so that a part which
             outlives its supervisor does not keep the next start out.
parts.lock   of whoever has parts to end: the supervisor, and the orphan reaper, which inherits it
             on purpose and ends some seconds after the supervisor was killed. The next start waits
             for it: a Valkey that is still stopping would remove the new one's socket.
"""

import contextlib
import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from viewer.config import PARTS_LOCK, VIEWER_LOCK, BadSetting

PATIENCE = 20.0  # seconds for an earlier viewer's parts to end; its reaper kills them after 3


class AlreadyRunning(Exception):
    """Another viewer has this DATA_DIR."""


@contextlib.contextmanager
def hold(data_dir: Path) -> Iterator[int]:
    """Be the only one on this folder; yields the descriptor that the orphan reaper inherits.

    Raises AlreadyRunning, and BadSetting where the folder cannot be used.
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
        yield parts


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
        os.close(descriptor)  # and the lock is free, unless the orphan reaper lives on


def _is_taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:  # some network file systems have none
        raise BadSetting(f"DATA_DIR: its files cannot be locked: {error.strerror}") from None
    return True


def _sign(descriptor: int) -> None:
    """Note who we are, for the one who comes second."""
    words = {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "since": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
    }
    # A full disk must not keep a viewer down that can still show photos.
    with contextlib.suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(words).encode(), 0)


def _holder(descriptor: int) -> str:
    try:
        found = json.loads(os.pread(descriptor, 1000, 0))
        return f"another viewer (pid {found['pid']} on {found['host']}, since {found['since']})"
    except (ValueError, KeyError, TypeError, OSError):  # it has only just come
        return "another viewer"
