"""Open and compare stored files, wherever they are."""

import enum
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

from viewer.config import settings
from viewer.holdings import fallbacks
from viewer.holdings.stores import own, own_id_if_known, store, store_of
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


@dataclass(frozen=True, slots=True)
class Handoff:
    """Where the reverse proxy finds a file by itself."""

    location: str  # for X-Accel-Redirect
    size: int | None  # bytes, where it is known


def hand_off(media: MediaAttachment, key: str) -> Handoff | None:
    """Where the reverse proxy finds the original or a derivative; None: it goes through us.

    A bucket is not asked for derivatives, and for an original once an hour: what is missing there,
    nginx meets, and comes back to us. Raises Missing, WrongSize, Unavailable.
    """

    def find_in(place: Store) -> Handoff | None:
        location = place.handoff(key)
        return None if location is None else Handoff(location, _glance(place, media, key))

    current = settings()
    if not current.X_ACCEL_PREFIX and not current.X_ACCEL_S3_PREFIX:
        return None
    return find_in(own()) if keys.is_cached(key) else _ask_stores(media, key, find_in)


def signed_address(media: MediaAttachment, key: str, overrides: Mapping[str, str]) -> str | None:
    """An address that opens the file to whoever has it; None where its nearest store has none.

    `overrides` as in `Store.signed_address`. Raises Missing, WrongSize, Unavailable.
    """

    def sign_in(place: Store) -> str | None:
        address = place.signed_address(key, overrides)
        if address is not None and _glance(place, media, key) is None and _is_original(media, key):
            raise Unavailable("The object store does not answer.")  # nor would it the browser
        return address

    return None if keys.is_cached(key) else _ask_stores(media, key, sign_in)


def _glance(place: Store, media: MediaAttachment, key: str) -> int | None:
    """The size of a file that is about to be sent without us, where it costs little to know."""
    if place.local_path(key) is None and not _is_original(media, key):
        return None
    size = place.glance(key)
    if size is not None and _is_original(media, key) and size != media.file_size:
        _check_size(media, key, place.stat(key).size)  # as of now: it may have been repaired
        return media.file_size
    return size


def find_original(media: MediaAttachment) -> Store:
    """The store that has the original, with its size. Raises Missing, WrongSize, Unavailable."""

    def find_in(place: Store) -> Store:
        _check_size(media, media.file_path, place.stat(media.file_path).size)
        return place

    return _ask_stores(media, media.file_path, find_in)


def _is_original(media: MediaAttachment, key: str) -> bool:
    return key == media.file_path


def _check_size(media: MediaAttachment, key: str, size: int) -> None:
    if _is_original(media, key) and size != media.file_size:
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
            fallbacks.note(media, f"is read from its former store: {troubles[0]}")
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
        own = own_id_if_known()
        places.sort(key=lambda one: one != own)
    return iter(places)


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
