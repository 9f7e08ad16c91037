"""A repository of restic as a target, by restic itself (0.14 or newer). It is no store.

Nothing is believed because restic exited with 0: 0.14 does so although a folder was not there.
"""

import contextlib
import hashlib
import json
import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from viewer.config import settings
from viewer.storage import StorageError, Unavailable
from viewer.storage.child import Failed, Running, start
from viewer.upkeep.backup.targets import folder_place, local_spool
from viewer.upkeep.backup.targets.place import LostTarget, Refused

HOST = "viewer"  # in the repository, whichever host of ours it was
CALL = 3600.0  # seconds for all but a backup
BACKUP = 12 * 3600.0
_FLOOR = (0, 14)
_PARTIAL = 3  # some files could not be read: the comparison says which
_CHUNK = 1024 * 1024  # bytes


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository that can be opened."""

    url: str  # the subject of its runs
    id: uuid.UUID
    password: Path  # the file that holds it

    @property
    def folder(self) -> Path:
        """For what is made for a backup. Always the same: restic compares with the last one."""
        return local_spool.folder() / f"restic-{self.id.hex}"

    def call(self, *words: str) -> bytes:
        """The output of a command. Raises Failed, Unavailable."""
        with self._running(*words) as running:
            output = running.read_all()
            running.finish()
            return output

    def back_up(self, folder: Path, *words: str) -> tuple[str, dict[str, Any]]:
        """The id of a new snapshot, and what restic says of it. Raises Unavailable."""
        said: dict[str, Any] = {}
        command = ("backup", "--json", "--host", HOST, *words)
        with self._running(*command, seconds=BACKUP, folder=folder) as running:
            while line := running.read_line():
                with contextlib.suppress(ValueError):
                    said = json.loads(line)
            try:
                running.finish()
            except Failed as failed:
                if failed.status != _PARTIAL:
                    raise
        if said.get("message_type") != "summary" or not said.get("snapshot_id"):
            raise Unavailable("restic does not say what it did.")
        return str(said["snapshot_id"]), said

    def files(self, snapshot: str) -> Iterator[tuple[str, int]]:
        """Path and size of each file of a snapshot. Raises Unavailable."""
        with self._running("ls", "--json", snapshot) as running:
            while line := running.read_line():
                node = json.loads(line)
                if node.get("type") == "file":
                    yield node["path"], int(node.get("size", 0))
            running.finish()

    def sha256(self, snapshot: str, path: str) -> str | None:
        """The SHA-256 of a file's bytes, read from the repository; None where they are not.

        Raises Unavailable.
        """
        digest = hashlib.sha256()
        with self._running("dump", snapshot, path) as running:
            while chunk := running.read(_CHUNK):
                digest.update(chunk)
            try:
                running.finish()
            except Failed:
                return None
        return digest.hexdigest()

    def restore(self, snapshot: str, folder: Path) -> None:
        """Write a snapshot's files below this folder. Raises Unavailable."""
        with self._running("restore", snapshot, f"--target={folder}", seconds=BACKUP) as running:
            running.read_all()
            running.finish()

    def count(self) -> int:
        """How many snapshots of ours it has. Raises Unavailable."""
        return len(json.loads(self.call("snapshots", "--json", "--host", HOST)) or [])

    def describe(self, trouble: StorageError) -> str:
        """What restic said, in the words of a target."""
        return f"The target failed: {trouble}"

    @contextlib.contextmanager
    def _running(
        self, *words: str, seconds: float = CALL, folder: Path | None = None
    ) -> Iterator[Running]:
        command = [
            "restic", f"--repo={self.url.removeprefix('restic:')}",
            f"--password-file={self.password}",
            f"--cache-dir={local_spool.folder() / 'restic-cache'}", *words,
        ]  # fmt: skip
        running = start(command, "restic", seconds, folder=folder)
        try:
            yield running
        finally:
            running.close()


def is_repository(url: str) -> bool:
    return url.startswith("restic:")


def open_repository(url: str, *, same_filesystem: bool = False) -> Repository:
    """Raises Refused, LostTarget."""
    password = settings().RESTIC_PASSWORD_FILE
    if password is None:
        raise Refused(f"{url} needs RESTIC_PASSWORD_FILE, the file with its password.")
    place = url.removeprefix("restic:")
    if place.startswith("/"):
        folder_place.check_place(Path(place), settings(), same_filesystem=same_filesystem)
    try:
        _check_version()
        # A repository that is not there is made by nobody: its disk may not be mounted.
        found = json.loads(Repository(url, uuid.UUID(int=0), password).call("cat", "config"))
        return Repository(url, uuid.UUID(hex=found["id"][:32]), password)
    except Unavailable as trouble:
        raise LostTarget(
            f"{url} cannot be opened: {trouble} A new one is made by restic init."
        ) from trouble
    except (ValueError, KeyError, TypeError):
        raise LostTarget(f"{url} cannot be opened: restic does not say which it is.") from None


def _check_version() -> None:
    running = start(["restic", "version"], "restic", 60)
    with contextlib.closing(running):
        said = running.read_all().decode(errors="replace")
        running.finish()
    found = re.match(r"restic (\d+)\.(\d+)", said)
    if found is None or (int(found[1]), int(found[2])) < _FLOOR:
        floor = ".".join(map(str, _FLOOR))
        raise Refused(f"restic {floor} or newer is needed, and this is {said.strip()[:60]!r}.")
