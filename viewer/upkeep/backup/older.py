"""Look after the snapshots of earlier runs: a damaged one must not be taken for a backup."""

import logging

from viewer.storage import StorageError
from viewer.upkeep.backup import snapshots
from viewer.upkeep.backup.listing import SLICES
from viewer.upkeep.backup.snapshots import DamagedSnapshot, Found
from viewer.upkeep.backup.targets.target import Target

log = logging.getLogger(__name__)


def check(target: Target, found: Found, slices: frozenset[int]) -> list[str]:
    """Read databases and lists: of a slice of the older snapshots, and once a day of the last one.

    Returns what to say of them. Raises Unavailable.
    """
    damaged = {}
    for one in found.complete:
        if one.number % SLICES in slices or (slices and one is found.complete[-1]):
            try:
                snapshots.check_files(target, one)
            except DamagedSnapshot as damage:
                damaged[one.name] = str(damage)
    return set_aside(target, damaged)


def set_aside(target: Target, damaged: dict[str, str]) -> list[str]:
    """Put damaged snapshots where nothing relies on them. What to say of them."""
    words = []
    for name, damage in damaged.items():
        log.error("snapshot %s in %s is damaged: %s", name, target.url, damage)
        words.append(f"Snapshot {name} is damaged in the target, and was set aside: {damage}")
        try:
            snapshots.set_aside(target, name)
        except StorageError as trouble:
            words[-1] = f"Snapshot {name} is damaged in the target: {damage}"
            log.warning("it stays there: %s", trouble)
    return words
