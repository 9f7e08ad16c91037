"""What must be true of a viewer's database and folder: at any moment, and once all is settled.

It reads with its own SQL and hashing, so that a mistake of the product is not repeated here.
"""

import contextlib
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from viewer.extensions import sqlite
from viewer.storage.workspace import INCOMING

COPIES = ("_thumb.jpg", "_preview.jpg", "_playable.mp4", "_playable.m4a")


@dataclass
class Known:
    """What the world outside knows: what was answered 2xx, and what the provider served."""

    answered: dict[str, str] = field(default_factory=dict)  # delivery id -> body
    served: dict[str, bytes] = field(default_factory=dict)  # address -> bytes


def rows(database_url: str, query: str) -> list[Mapping[str, Any]]:
    with _connected(database_url) as connection:
        return [dict(row._mapping) for row in connection.execute(sa.text(query))]


def media_rows(database_url: str) -> list[Mapping[str, Any]]:
    return rows(database_url, "SELECT * FROM media_attachments ORDER BY position, file_path")


def violations(database_url: str, media_root: Path, known: Known) -> list[str]:
    """Promises that are broken at this moment, whatever crashed a moment ago (I1, I3, I4)."""
    return [
        *_lost_events(database_url, known),
        *_stored_without_bytes(database_url, media_root),
        *_wrong_bytes_under_a_name(media_root, known),
    ]


def unsettled(database_url: str, media_root: Path, known: Known) -> list[str]:
    """What is not as it must be once every cause of trouble is gone (I2, I5, nothing left over)."""
    found = violations(database_url, media_root, known)
    media = {row["openphone_url"]: row for row in media_rows(database_url)}
    if len(media) != len(media_rows(database_url)):
        found.append("one file has two rows")
    for url, content in known.served.items():
        row = media.get(url)
        if row is None:
            found.append(f"{url} has no row")
        elif row["state"] != "stored":
            found.append(f"{url} is {row['state']}: {row['problem']}")
        elif row["sha256"] != hashlib.sha256(content).hexdigest():
            found.append(f"{url} has other bytes than were served")
    placed = sorted(str(path.relative_to(media_root)) for path in originals(media_root))
    named = sorted(row["file_path"] for row in media.values())
    if placed != named:
        found.append(f"files are {placed}, rows name {named}")
    left = [path.name for path in (media_root / INCOMING).glob("*")]
    if left:
        found.append(f"left in {INCOMING}: {left}")
    return found


def originals(media_root: Path) -> list[Path]:
    return [
        path
        for path in sorted(media_root.rglob("*"))
        if path.is_file()
        and not path.relative_to(media_root).parts[0].startswith(".")  # parts, the marker
        and not path.name.endswith(COPIES)
    ]


def _lost_events(database_url: str, known: Known) -> list[str]:
    kept = {
        row["delivery_id"]: bytes(row["body"])
        for row in rows(database_url, "SELECT delivery_id, body FROM webhook_events")
    }
    return [
        f"I1: delivery {name} was answered and is not kept"
        for name, body in known.answered.items()
        if kept.get(name) != body.encode()
    ]


def _stored_without_bytes(database_url: str, media_root: Path) -> list[str]:
    found = []
    for row in media_rows(database_url):
        if row["state"] != "stored":
            continue
        path = media_root / row["file_path"]
        if not path.is_file():
            found.append(f"I3: {row['file_path']} is stored and not there")
        elif (len(path.read_bytes()), content_hash(path)) != (row["file_size"], row["sha256"]):
            found.append(f"I3: {row['file_path']} is stored and its bytes are others")
    for row in media_rows(database_url):
        for column in ("thumbnail_path", "preview_path", "playable_path"):
            key = row[column]
            if key and (not (media_root / key).is_file() or not (media_root / key).stat().st_size):
                found.append(f"I3: {key} is named by its row and has no bytes")
    return found


def _wrong_bytes_under_a_name(media_root: Path, known: Known) -> list[str]:
    genuine = {hashlib.sha256(content).hexdigest() for content in known.served.values()}
    found = [
        f"I4: {path.relative_to(media_root)} is no file that was sent"
        for path in originals(media_root)
        if content_hash(path) not in genuine
    ]
    for path in media_root.rglob("*_*.jpg"):
        if path.name.endswith(COPIES) and not path.read_bytes().endswith(b"\xff\xd9"):
            found.append(f"I4: {path.relative_to(media_root)} is half a picture")
    return found


def content_hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@contextlib.contextmanager
def _connected(database_url: str) -> Iterator[sa.Connection]:
    if database_url.startswith("sqlite"):
        engine = sa.create_engine(database_url, module=sqlite, poolclass=sa.NullPool)
    else:
        address = sa.make_url(database_url).set(drivername="postgresql+psycopg")
        engine = sa.create_engine(address, poolclass=sa.NullPool)
    with engine.connect() as connection:
        yield connection
    engine.dispose()
