"""A set of millions of keys in 8 bytes each."""

import bisect
import hashlib
from array import array

_BUCKETS = 1024


class KeySet:
    """Add all keys, then ask. A key that was never added is found with a chance of 1 in 10^12.

    Sorted arrays of 64-bit hashes: a set of four million strings would take half a gigabyte.
    """

    def __init__(self) -> None:
        self._buckets = [array("Q") for _ in range(_BUCKETS)]
        self._is_sorted = True

    def add(self, key: str) -> None:
        digest = _digest(key)
        self._buckets[digest % _BUCKETS].append(digest)
        self._is_sorted = False

    def __contains__(self, key: str) -> bool:
        if not self._is_sorted:
            self._buckets = [array("Q", sorted(bucket)) for bucket in self._buckets]
            self._is_sorted = True
        digest = _digest(key)
        bucket = self._buckets[digest % _BUCKETS]
        place = bisect.bisect_left(bucket, digest)
        return place < len(bucket) and bucket[place] == digest


def _digest(key: str) -> int:
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest())
