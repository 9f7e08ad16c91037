"""Whom a restore must forget again: older snapshots still hold them until retention ends these.

    forgotten/<id>.json   digests and a key, no number and no name; never replaced, never pruned

An entry is written with the first backup after the rows are gone. So a snapshot of before cannot
bring anybody back.
"""

import json
import logging
from collections.abc import Iterator
from typing import Any

from viewer.failpoint import failpoint
from viewer.office import forgetting
from viewer.storage import Occupied
from viewer.upkeep.backup import snapshots
from viewer.upkeep.backup.targets.target import Target

log = logging.getLogger(__name__)

PREFIX = "forgotten/"


def write(target: Target) -> None:
    """Write the entries that the target has not got. Raises StorageError."""
    entries = forgetting.tombstones()
    if not entries:
        return
    known = {key for key, _ in target.store.keys(PREFIX)}
    for identity, entry in entries.items():
        key = f"{PREFIX}{identity}.json"
        if key in known:
            continue
        try:
            snapshots.put(target, key, [json.dumps(entry).encode()])
        except Occupied:  # by another host, just now
            target.store.settle(key)
    failpoint("backup.forgotten")


def forget_again(target: Target) -> int:
    """Forget whoever is in this database and was forgotten since. How many. Commits.

    Their files are in no row any more when originals are restored. Raises StorageError.
    """
    return sum(forgetting.apply_tombstone(entry) for entry in _entries(target))


def _entries(target: Target) -> Iterator[dict[str, Any]]:
    for key in sorted(key for key, _ in target.store.keys(PREFIX)):
        with target.store.open(key) as file:
            yield json.loads(file.read())
