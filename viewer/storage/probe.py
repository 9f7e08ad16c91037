"""Try a service before it is trusted with originals: not all that speak S3 keep its promises."""

import contextlib
import tempfile
from pathlib import Path
from typing import Protocol, runtime_checkable

from viewer.storage import keys
from viewer.storage.store import Occupied, Store, Unavailable, UnsafeStore

_FIRST, _SECOND = b"first of two", b"second of two"


@runtime_checkable
class _Service(Protocol):
    """A store that somebody else's program keeps."""

    def refuses_wrong_checksum(self, key: str) -> bool: ...


def probe(store: Store) -> None:
    """Refuse a service that would overwrite, damage or mix up files. A folder is never refused.

    Leaves nothing behind, unless the service denies us to delete. Raises UnsafeStore, Unavailable.
    """
    if not isinstance(store, _Service):
        return
    key, damaged = keys.probe(), keys.probe()
    try:
        _create_twice(store, key)
        if not store.refuses_wrong_checksum(damaged):
            raise UnsafeStore(
                "This service would keep damaged files: it accepts a wrong checksum. Use another."
            )
        _read_part(store, key)
        if list(store.keys(key)) != [(key, len(_FIRST))]:
            raise UnsafeStore("This service does not list what it holds. Use another.")
    finally:
        for made in (key, damaged):
            with contextlib.suppress(Unavailable):  # a target may deny us to delete
                store.remove(made)


def _create_twice(store: Store, key: str) -> None:
    with tempfile.TemporaryDirectory(prefix="viewer-") as folder:
        for content in (_FIRST, _SECOND):
            (Path(folder) / "part").write_bytes(content)
            try:
                store.place(key, Path(folder) / "part")
            except Occupied:
                if content == _SECOND:
                    return
                raise
    raise UnsafeStore(
        "This service would overwrite files: it ignores that a name is taken. Use another."
    )


def _read_part(store: Store, key: str) -> None:
    try:
        with store.open(key, 6, 2) as part:
            is_right = (part.read(), part.size) == (_FIRST[6:8], len(_FIRST))
    except Unavailable as trouble:
        raise UnsafeStore(f"This service does not give parts of files. {trouble}") from None
    if not is_right:
        raise UnsafeStore("This service gives wrong parts of files. Use another.")
