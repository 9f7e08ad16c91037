"""Check that every original is in its store with the bytes that came; repair those that are not.

presence  each night, all files: is it there, has it its size; what lies there that no row names
reading   each night a slice: read and hash the ones not read for the longest time
repair    bring back a damaged original from where its right bytes still are
run       the journey, and its record
overview  what the status page says of it
"""

from viewer.upkeep.verify.overview import Overview
from viewer.upkeep.verify.overview import read as read_overview
from viewer.upkeep.verify.presence import totals
from viewer.upkeep.verify.run import (
    EVERY,
    Looks,
    Result,
    is_due,
    nightly,
    own_store,
    shared_stores,
    stores,
    verify,
)

__all__ = [
    "EVERY",
    "Looks",
    "Overview",
    "Result",
    "is_due",
    "nightly",
    "own_store",
    "read_overview",
    "shared_stores",
    "stores",
    "totals",
    "verify",
]
