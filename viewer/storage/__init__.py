"""Where bytes live. Knows no rows: the caller chooses keys, the same for a file in every store.

StorageError
  Missing      there is nothing under this key
  Occupied     there is something under this key already; nothing is ever replaced
  Unavailable  the store cannot take or give bytes now (full, read-only, gone); try again later
"""

from viewer.storage.folder import Folder, in_words
from viewer.storage.store import Missing, Occupied, Part, Stat, StorageError, Store, Unavailable

__all__ = [
    "Folder",
    "Missing",
    "Occupied",
    "Part",
    "Stat",
    "StorageError",
    "Store",
    "Unavailable",
    "in_words",
]
