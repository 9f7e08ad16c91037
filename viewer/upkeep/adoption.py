"""Adopt a media folder without a marker, after comparing its files with the database.

For photos that were moved by hand (`cp -r media/* …` leaves the marker behind), and for databases
older than markers. Compares the size of every file, and the checksum of a sample. Writes nothing
into the folder but the marker.
"""

import logging
import random
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field

import sqlalchemy as sa

from viewer import holdings
from viewer.extensions import db
from viewer.holdings import Finding
from viewer.models import MediaAttachment, RegisteredStore
from viewer.storage import StorageError, Store
from viewer.upkeep import identity
from viewer.upkeep.identity import UnusableStore, WrongStore

log = logging.getLogger(__name__)

SAMPLE = 200  # files whose checksum is compared
# Tolerate one missing or different file in so many, and at least one: a folder in use for years has
# a few. Another installation's folder, or an interrupted copy, has far more.
TOLERATED = 100
NO_FILES = (
    "This database has no files yet, so nothing shows that the folder is its own. Set MEDIA_ROOT "
    "to an empty folder."
)

State = MediaAttachment.State


@dataclass(frozen=True, slots=True)
class Expected:
    """A file that should be in the store."""

    key: str
    size: int
    sha256: str


@dataclass(slots=True)
class Comparison:
    """The result of comparing the store with the database."""

    expected: int = 0
    same_size: int = 0
    hashed: int = 0  # files of the right size whose checksum was compared
    missing: list[str] = field(default_factory=list)  # keys
    different: list[str] = field(default_factory=list)  # by size or by checksum

    @property
    def bad(self) -> int:
        return len(self.missing) + len(self.different)

    @property
    def tolerated(self) -> int:
        return max(1, self.expected // TOLERATED)


def check_marker(store: Store) -> None:
    """Raises WrongStore if there is nothing to adopt: the folder is marked, or empty, or no file
    is known.

    Raises UnusableStore if it cannot be read.
    """
    try:
        found, is_empty = store.identity(), store.is_empty()
    except StorageError as trouble:
        raise UnusableStore(f"The media folder {store.address} cannot be used. {trouble}") from None
    known = identity.registered_folder()
    db.session.commit()
    if known is None:
        raise WrongStore(NO_FILES)
    if found == str(known.id):
        raise WrongStore(f"The media folder {store.address} is this database's own already.")
    if found is not None:
        raise WrongStore(
            f"The media folder {store.address} has the marker of another database. Set MEDIA_ROOT "
            "to this database's folder, or DATABASE_URL to the database that goes with this one."
        )
    if is_empty:
        raise WrongStore(
            f"The media folder {store.address} is empty: is its disk mounted? There is nothing to "
            "adopt in it."
        )


def expected_files() -> list[Expected]:
    """Every original that should be stored, without known damaged ones: these prove nothing."""
    media = MediaAttachment
    found = db.session.execute(
        sa.select(media.file_path, media.file_size, media.sha256).where(
            media.state.in_((State.STORED, State.TRASHED, State.DUPLICATE)),
            media.downloaded_at.is_not(None),
            media.purged_at.is_(None),
            media.sha256.is_not(None),
            media.file_size.is_not(None),
        )
    ).all()
    db.session.commit()  # reading files is slow: hold no transaction
    return [Expected(key, size or 0, sha256 or "") for key, size, sha256 in found]


def compare(
    store: Store, files: list[Expected], sample: int, advance: Callable[[int], None]
) -> Comparison:
    """Compare all sizes, and the checksums of `sample` random files. Raises Unavailable."""
    found = Comparison(expected=len(files))
    here: list[Expected] = []
    wrong = {Finding.MISSING: found.missing, Finding.DIFFERENT: found.different}
    for one in files:
        finding = holdings.compare_size(store, one.key, one.size)
        if finding is Finding.SAME:
            here.append(one)
        else:
            wrong[finding].append(one.key)
        advance(1)
    found.same_size = len(here)
    for one in random.sample(here, min(sample, len(here))):
        found.hashed += 1
        finding = holdings.compare_bytes(store, one.key, one.sha256)
        if finding is not Finding.SAME:
            wrong[finding].append(one.key)
        advance(1)
    return found


def check_comparison(found: Comparison, lost: int) -> None:
    """Raises WrongStore if too many files are missing or different.

    `lost`: how many the administrator knows to be.
    """
    allowed = max(found.tolerated, lost)
    if found.expected == 0:
        raise WrongStore(NO_FILES)
    if found.bad > allowed or found.bad >= found.expected:
        raise WrongStore(
            f"Not adopted: {found.bad} of {found.expected} files are missing or different, and at "
            f"most {allowed} may be (one in {TOLERATED}, or one). Finish the copy, or set "
            "MEDIA_ROOT to the folder with the photos. Files that are lost for good can be "
            f"restored from the backup first, or left out: --lost {found.bad}"
        )


def adopt(store: Store) -> uuid.UUID:
    """Write the marker. Idempotent. Commits. Returns the store's id. Raises UnusableStore."""
    folder = RegisteredStore.Kind.FOLDER
    known = db.session.scalars(sa.select(RegisteredStore.id).filter_by(kind=folder)).one()
    db.session.commit()
    try:
        store.mark(str(known))
    except StorageError as trouble:
        raise UnusableStore(f"The media folder {store.address} cannot be used. {trouble}") from None
    log.warning("store=%s adopted at %s", known, store.address)
    return known


def adopt_new_disk(store: Store) -> None:
    """Mark an empty folder as this database's: the disk before it is lost. Idempotent. Commits.

    Raises WrongStore, UnusableStore.
    """
    known = identity.registered_folder()
    db.session.commit()
    if known is None:
        raise WrongStore(NO_FILES)
    try:
        if store.identity() == str(known.id):
            return
        if not store.is_empty():
            raise WrongStore(f"The media folder {store.address} is not empty: no new disk.")
    except StorageError as trouble:
        raise UnusableStore(f"The media folder {store.address} cannot be used. {trouble}") from None
    adopt(store)
