"""A target in a bucket of S3: probed before it is trusted, and in no bucket of a store."""

import contextlib
import dataclasses
import re
import uuid
from collections.abc import Iterator
from typing import Protocol, runtime_checkable
from urllib.parse import urlsplit

import sqlalchemy as sa

from viewer import storage
from viewer.config import settings
from viewer.extensions import db
from viewer.models import RegisteredStore
from viewer.storage import (
    S3Address,
    Spool,
    StorageError,
    Store,
    Unavailable,
    UnsafeStore,
    checksum,
    from_url,
)
from viewer.upkeep.backup.targets import local_spool
from viewer.upkeep.backup.targets.place import LostTarget, Refused

_PORTS = {"https": 443, "http": 80}


@runtime_checkable
class _Uploading(Protocol):
    def tidy(self, older_than: float) -> int: ...


class BucketPlace:
    """A bucket, or a prefix in it."""

    empty = "an empty prefix"
    why_lost = "is it the right bucket? For a new one, name another prefix."

    def __init__(self, url: str, store: Store) -> None:
        self.url = url
        self.store = store
        self._address = S3Address.read(url)

    def check(self, *, same_filesystem: bool) -> None:
        # Whatever `same_filesystem` says: another bucket costs nothing.
        for _, theirs in _buckets_of_stores():
            if (theirs.bucket, _service(theirs)) == (self._address.bucket, _service(self._address)):
                self._refuse_shared_bucket()

    def probe(self) -> None:
        # The same bucket may be known by two names of its server: only a marker tells.
        if any(self._holds(*one) for one in _buckets_of_stores()):
            self._refuse_shared_bucket()
        try:
            storage.probe(self.store)
        except UnsafeStore as trouble:
            raise Refused(f"{self.url} must not hold backups. {trouble}") from trouble
        except Unavailable as trouble:
            raise LostTarget(f"{self.url} cannot be used: {self.reason(trouble)}.") from trouble

    def make(self) -> None:
        """A bucket is made by whoever pays for it."""

    def spool(self, target: uuid.UUID) -> Spool:
        return local_spool.spool_of(target, self.store)

    def tidy(self) -> None:
        if isinstance(self.store, _Uploading):
            with contextlib.suppress(Unavailable):  # we may be denied to; they only cost
                self.store.tidy(older_than=0)

    def check_spool(self, size: int) -> None:
        local_spool.check_room(size, self.url)

    def free(self) -> int | None:
        return None

    def forget_empty_folders(self, prefix: str) -> None:
        """There are no folders."""

    def sha256(self, key: str) -> str:
        return checksum(self.store.open(key)).sha256

    def reason(self, trouble: StorageError) -> str:
        words = str(trouble).replace("for photos", "for backups").removesuffix(".")
        return re.sub(r"\bS3_", "BACKUP_S3_", words)

    def describe(self, trouble: StorageError) -> str:
        if isinstance(trouble.__cause__, OSError):  # of the spool
            return f"{local_spool.folder()} failed ({trouble.__cause__.strerror})."
        words = self.reason(trouble)
        return f"The target failed: {words}{'' if words.endswith('?') else '.'}"

    def _holds(self, identity: uuid.UUID, theirs: S3Address) -> bool:
        """Whether the store with this id is in our bucket."""
        there = dataclasses.replace(self._address, prefix=theirs.prefix)
        store = from_url(str(there), credentials=settings().backup_s3_credentials)
        try:
            return store.identity() == str(identity)
        except Unavailable:
            return False  # denied to us; whether ours can be used is tried next

    def _refuse_shared_bucket(self) -> None:
        raise Refused(
            f"{self.url} is in the bucket of a store: whoever loses that bucket would lose both."
            " Use another bucket, best of another account."
        )


def _buckets_of_stores() -> Iterator[tuple[uuid.UUID, S3Address]]:
    known = RegisteredStore
    query = sa.select(known.id, known.address).filter_by(kind=known.Kind.S3)
    found = db.session.execute(query).all()
    db.session.commit()
    return ((identity, S3Address.read(address or "")) for identity, address in found)


def _service(address: S3Address) -> str:
    """Whose bucket it is: AWS's names are the same in all regions."""
    parts = urlsplit(address.endpoint or "")
    host = (parts.hostname or "amazonaws.com").rstrip(".")
    if host.endswith(("amazonaws.com", "amazonaws.com.cn")):
        return "amazonaws.com"
    return f"{host}:{parts.port or _PORTS[parts.scheme]}"
