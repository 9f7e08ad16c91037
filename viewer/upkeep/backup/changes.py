"""How much of what the last verified backup named is gone or altered at the source.

So many at once are no bit rot, but a disk, a mistake or an attacker: then the run is bad, and no
earlier snapshot is pruned. Unless a person knows of it: what was accepted is listed beside the
snapshot, so that later runs are silent of these files, and of no others.

snapshots/000042-20261125T031500Z/ACCEPTED    keys in the stores, in their order
"""

import hashlib
import logging
from collections.abc import Iterator
from itertools import islice
from typing import Any

import sqlalchemy as sa

from viewer.extensions import db
from viewer.models import MediaAttachment
from viewer.plurals import counted
from viewer.storage import Missing
from viewer.upkeep.backup import snapshots
from viewer.upkeep.backup.listing import BATCH, Listing
from viewer.upkeep.backup.snapshots import Snapshot
from viewer.upkeep.backup.targets.target import Target

log = logging.getLogger(__name__)

LEAST, PERCENT = 20, 1
ACCEPTED = "ACCEPTED"


def count_altered(listing: Listing) -> int:
    """The originals of the last verified snapshot that are not the same, and nobody knew of."""
    return listing.count_altered(_gone_rows(listing))


def is_mass_change(altered: int, known: int) -> bool:
    return altered >= LEAST and altered * 100 > known * PERCENT


def in_words(altered: int) -> str:
    return f"{counted(altered, 'original')} gone or altered since the last verified backup"


def read_accepted(target: Target, snapshot: Snapshot, listing: Listing) -> None:
    """Read what was accepted until this snapshot. Raises Unavailable."""
    expected = (snapshot.verified or {}).get("accepted")
    if not expected:
        return
    digest = hashlib.sha256()
    try:
        key = f"{snapshots.PREFIX}{snapshot.name}/{ACCEPTED}"
        listing.read_accepted(snapshots.lines_of(target, key, digest))
    except (Missing, UnicodeDecodeError):
        digest = hashlib.sha256()
    if digest.hexdigest() != expected["sha256"]:
        log.error("the list of accepted changes of snapshot %s is damaged", snapshot.name)
        listing.forget_accepted()  # so they are said again


def write_accepted(
    target: Target, name: str, listing: Listing, *, with_new: bool
) -> dict[str, Any] | None:
    """List what was accepted, now (`with_new`) or earlier, and is altered still. Its size and hash.

    None if there is nothing to list.
    """
    keys = listing.accepted(with_new=with_new)
    first = next(keys, None)
    if first is None:
        return None

    def lines() -> Iterator[bytes]:
        yield f"{first}\n".encode()
        yield from (f"{key}\n".encode() for key in keys)

    return snapshots.put(target, f"{snapshots.PREFIX}{name}/{ACCEPTED}", lines())


def _gone_rows(listing: Listing) -> Iterator[str]:
    """Keys that no row has any more, although nobody purged them."""
    gone, media = listing.gone_rows(), MediaAttachment
    while batch := list(islice(gone, BATCH)):
        purged = set(
            db.session.scalars(
                sa.select(media.file_path).where(
                    media.file_path.in_(batch), media.purged_at.is_not(None)
                )
            )
        )
        db.session.commit()
        yield from (key for key in batch if key not in purged)
