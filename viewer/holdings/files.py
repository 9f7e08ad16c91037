"""Open and compare stored files, wherever they are."""

import enum
import logging
import uuid
from collections.abc import Callable, Iterator
from typing import TypeVar

from viewer.holdings.stores import own, own_id, store, store_of
from viewer.models import MediaAttachment
from viewer.storage import (
    Missing,
    Opened,
    StorageError,
    Store,
    Unavailable,
    checksum,
    keys,
)

log = logging.getLogger(__name__)

_Answer = TypeVar("_Answer")


class WrongSize(StorageError):
    """The original has another size than its row says: it was damaged in the store."""


class Finding(enum.StrEnum):
    """The result of comparing a stored original with its row."""

    SAME = "same"
    DIFFERENT = "different"
    MISSING = "missing"


def open_file(
    media: MediaAttachment, key: str, start: int = 0, length: int | None = None
) -> Opened:
    """Open the original or a derivative, from the nearest store that has it.

    Raises Missing, Unavailable; for an original also WrongSize: comparing the size costs nothing,
    and finds most damage before a byte is served.
    """
    if keys.is_cached(key):
        return own().open(key, start, length)

    def open_in(place: Store) -> Opened:
        opened = place.open(key, start, length)
        try:
            _check_size(media, key, opened.size)
        except WrongSize:
            opened.close()
            raise
        return opened

    return _ask_stores(media, key, open_in)


def find_original(media: MediaAttachment) -> Store:
    """The store that has the original, with its size. Raises Missing, WrongSize, Unavailable."""

    def find_in(place: Store) -> Store:
        _check_size(media, media.file_path, place.stat(media.file_path).size)
        return place

    return _ask_stores(media, media.file_path, find_in)


def _check_size(media: MediaAttachment, key: str, size: int) -> None:
    if key == media.file_path and size != media.file_size:
        raise WrongSize(f"{key} has {size} bytes, not {media.file_size}")


def _ask_stores(media: MediaAttachment, key: str, ask: Callable[[Store], _Answer]) -> _Answer:
    troubles: list[StorageError] = []
    for identity in _nearest(media, key):
        try:
            answer = ask(store(identity))
        except StorageError as trouble:
            troubles.append(trouble)
            continue
        if troubles and identity != media.storage:
            log.warning("media=%s is read from its former store: %s", media.id, troubles[0])
        return answer
    if not troubles:
        raise Missing(f"{key} is in no store")
    # A store that does not answer may have the file: then nobody may call it missing.
    raise next((one for one in troubles if isinstance(one, Unavailable)), troubles[0])


def _nearest(media: MediaAttachment, key: str) -> Iterator[uuid.UUID]:
    """The stores that may have it: an original first from this host's disk, if it is still there.

    A derivative may have been made anew since the row moved: its own store has the newest.
    """
    places = [one for one in (media.storage, media.former_storage) if one is not None]
    if len(places) == 2 and key == media.file_path:
        places.sort(key=lambda one: one != _own_id())
    return iter(places)


def _own_id() -> uuid.UUID | None:
    try:
        return own_id()
    except Unavailable:
        return None


def check_file(media: MediaAttachment) -> Finding:
    """Compare the original's bytes with the row's checksum. Slow: hold no transaction open.

    Raises Unavailable if the store does not answer, which says nothing about the file.
    """
    return compare_bytes(store_of(media), media.file_path, media.sha256)


def compare_bytes(place: Store, key: str, sha256: str | None) -> Finding:
    """Compare all bytes of a file with a checksum. Raises Unavailable."""
    try:
        found = checksum(place.open(key))
    except Missing:
        return Finding.MISSING
    return Finding.SAME if found.sha256 == sha256 else Finding.DIFFERENT


def compare_size(place: Store, key: str, size: int) -> Finding:
    """Compare the size of a file. Raises Unavailable."""
    try:
        found = place.stat(key)
    except Missing:
        return Finding.MISSING
    return Finding.SAME if found.size == size else Finding.DIFFERENT
