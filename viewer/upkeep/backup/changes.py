"""How much of what the last verified backup named is gone or altered at the source.

So many at once are no bit rot, but a disk, a mistake or an attacker: then the run is bad, and no
earlier snapshot is pruned.
"""

from collections.abc import Iterator
from itertools import islice

import sqlalchemy as sa

from viewer.extensions import db
from viewer.models import MediaAttachment
from viewer.upkeep.backup.listing import BATCH, Listing

LEAST, PERCENT = 20, 1


def count_altered(listing: Listing) -> int:
    """The originals of the last verified snapshot that are not the same any more."""
    return listing.count_altered(_gone_rows(listing))


def is_mass_change(altered: int, known: int) -> bool:
    return altered >= LEAST and altered * 100 > known * PERCENT


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
