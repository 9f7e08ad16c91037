"""A target in a folder of another host, reached over ssh."""

import contextlib
import uuid
from pathlib import Path

from viewer.config import settings
from viewer.storage import SSH, Spool, SSHAddress, StorageError, Store, Unavailable
from viewer.upkeep.backup.targets import local_spool
from viewer.upkeep.backup.targets.folder_place import check_device, places_of_ours
from viewer.upkeep.backup.targets.place import MARKER, LostTarget, Refused

_BOOT = Path("/proc/sys/kernel/random/boot_id")


class SSHPlace:
    """A folder of another host."""

    empty = "an empty folder"
    why_lost = "is its disk mounted? For a new disk, name a new folder in it."

    def __init__(self, url: str) -> None:
        self.url = url
        self._address = SSHAddress.read(url)
        self._ssh = SSH(self._address, settings().BACKUP_SSH_CONFIG, MARKER)
        self.store: Store = self._ssh

    def check(self, *, same_filesystem: bool) -> None:
        """That host may be this one, by another name."""
        try:
            boot, device = self._ssh.where()
        except Unavailable as trouble:
            raise LostTarget(f"{self.url} cannot be read: {self.reason(trouble)}.") from trouble
        with contextlib.suppress(OSError):
            if boot == _BOOT.read_text().strip() and not same_filesystem:
                check_device(device, Path(self._address.path), places_of_ours(settings()))

    def probe(self) -> None:
        try:
            missing = self._ssh.missing_programs()
        except Unavailable as trouble:
            raise LostTarget(f"{self.url} cannot be used: {self.reason(trouble)}.") from trouble
        if missing:
            raise Refused(
                f"{self.url} must not hold backups: {self._address.host} lacks GNU's"
                f" {', '.join(missing)}."
            )

    def make(self) -> None:
        """The marker makes its folder."""

    def spool(self, target: uuid.UUID) -> Spool:
        return local_spool.spool_of(target, self.store)

    def tidy(self) -> None:
        self._ssh.tidy()

    def check_spool(self, size: int) -> None:
        local_spool.check_room(size, self.url)

    def free(self) -> int | None:
        return self._ssh.free()

    def forget_empty_folders(self, prefix: str) -> None:
        with contextlib.suppress(Unavailable):  # it is harmless
            self._ssh.forget_empty_folders(prefix)

    def sha256(self, key: str) -> str:
        return self._ssh.sha256(key)  # over there: nothing is sent but the answer

    def reason(self, trouble: StorageError) -> str:
        return str(trouble).removesuffix(".")

    def describe(self, trouble: StorageError) -> str:
        if isinstance(trouble.__cause__, OSError):  # of the spool
            return f"{local_spool.folder()} failed ({trouble.__cause__.strerror})."
        words = self.reason(trouble)
        return f"The target failed: {words}{'' if words.endswith('?') else '.'}"
