"""The nightly check of a store with a million originals, and how quickly bytes are read.

Each original has a thumbnail and a preview beside it, so the store has three million names; the
bytes are hard links to a few files. `find` walks the same folder for comparison, and `sha256sum`
reads the same bytes.

    python -m benchmarks.verify [--originals 1000000] [--folder /tmp/verify]
"""

import argparse
import hashlib
import os
import resource
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import flask_migrate
import sqlalchemy as sa

from tests.support.children import in_child
from viewer import create_app, holdings
from viewer.extensions import db
from viewer.models import Conversation, MediaAttachment, Message
from viewer.upkeep import identity
from viewer.upkeep.verify import presence

AT_ONCE = 20_000  # rows, whose 60,000 names are one file; ext4 allows 65,000
READ, READ_SIZE = 500, 2_000_000  # files, bytes of each
NOW = datetime.now(UTC).replace(microsecond=0)


def key(number: int) -> str:
    day = NOW - timedelta(days=number % 1000)
    customer = f"617-555-01{number // 1000 % 100:02}"
    return f"{day:%Y/%m/%d}/{customer}/messages/{1_600_000_000 + number}_photo.jpg"


def columns() -> dict[str, Any]:
    """What all rows have in common: one message, and this host's store."""
    conversation = Conversation(participants="+16175550123", line="PNbench")
    db.session.add(conversation)
    db.session.flush()
    message = Message(
        conversation_id=conversation.id, provider_id="ACbench", kind=Message.Kind.TEXT,
        direction=Message.Direction.INCOMING, sender="+16175550123", sent_at=NOW,
    )  # fmt: skip
    db.session.add(message)
    db.session.flush()
    return {
        "conversation_id": conversation.id, "message_id": message.id,
        "storage": holdings.own_id(),
        "state": MediaAttachment.State.STORED, "downloaded_at": NOW, "verified_at": NOW,
        "media_type": MediaAttachment.MediaType.PHOTO, "mime_type": "image/jpeg",
        "copy_state": MediaAttachment.CopyState.MADE,
    }  # fmt: skip


def fill(
    originals: int,
    root: Path,
    content_of: Callable[[int], bytes] = b"crack %d".__mod__,
    at_once: int = AT_ONCE,
) -> None:
    """A row and three names for each original. `content_of` a lot of 20,000, or of `at_once`."""
    ours, source = columns(), root / ".source"
    for first in range(0, originals, at_once):
        content = content_of(first // at_once)
        source.unlink(missing_ok=True)
        source.write_bytes(content)
        lot = ours | {"file_size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        rows = []
        for number in range(first, min(first + at_once, originals)):
            name = key(number)
            stem = name.removesuffix(".jpg")
            copies = {"thumbnail_path": f"{stem}_thumb.jpg", "preview_path": f"{stem}_preview.jpg"}
            for path in (name, *copies.values()):
                target = root / path
                try:
                    os.link(source, target)
                except FileNotFoundError:
                    target.parent.mkdir(parents=True)
                    os.link(source, target)
            rows.append(
                lot
                | copies
                | {"id": uuid.uuid4(), "file_path": name, "file_stem": stem}
                | {"source_key": str(number)}
            )
        db.session.execute(sa.insert(MediaAttachment), rows)
        db.session.commit()


def timed(what: Callable[[], object]) -> tuple[float, object]:
    begun = time.monotonic()
    found = what()
    return time.monotonic() - begun, found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--originals", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, default=Path("/tmp/verify"))  # noqa: S108
    words = parser.parse_args()
    shutil.rmtree(words.folder, ignore_errors=True)
    words.folder.mkdir()
    app = create_app({"DATA_DIR": words.folder, "REDIS_URL": "unix:///nowhere"})
    with app.app_context():
        flask_migrate.upgrade()
        identity.ensure()
        root = app.config["SETTINGS"].media_root
        seconds, _ = timed(lambda: in_child(lambda: fill(words.originals, root)))
        print(f"filled in {seconds:.0f} s", file=sys.stderr)
        _presence(words.originals, root)
        _reading(root)
        db.engine.dispose()
    shutil.rmtree(words.folder)
    return 0


def _presence(originals: int, root: Path) -> None:
    asked: list[str] = []
    sa.event.listen(db.engine, "before_cursor_execute", lambda *words: asked.append(words[2]))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    store, storage = holdings.own(), holdings.own_id()
    seconds, found = timed(
        lambda: presence.compare(store, storage, datetime.now(UTC), originals, lambda _: None)
    )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert isinstance(found, presence.Presence)
    assert (found.rows, found.bad, found.orphans.count) == (originals, [], 0)
    walk = ["find", str(root), "-type", "f", "-printf", "%P %s\\n"]
    peer, _ = timed(lambda: subprocess.run(walk, check=True, stdout=subprocess.DEVNULL))
    print(
        f"presence of {originals:,} originals with two copies each: {seconds:.0f} s, "
        f"{len(asked):,} queries, peak memory {peak / 1024:.0f} MB (before: {before / 1024:.0f}); "
        f"{seconds / peer:.1f} times `find -printf`"
    )


def _reading(root: Path) -> None:
    store, rows = holdings.own(), []
    for number in range(READ):
        content = os.urandom(READ_SIZE)
        name = f"read/{number}.jpg"
        path = root / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        rows.append(
            presence.Row(uuid.uuid4(), name, READ_SIZE, hashlib.sha256(content).hexdigest())
        )
    ours, findings = timed(
        lambda: {holdings.compare_bytes(store, row.key, row.sha256) for row in rows}
    )
    assert findings == {holdings.Finding.SAME}
    paths = [str(root / row.key) for row in rows]
    peer, _ = timed(
        lambda: subprocess.run(["sha256sum", *paths], check=True, stdout=subprocess.DEVNULL)
    )
    rate = READ * READ_SIZE / ours / 1e6
    print(f"reading and hashing: {rate:.0f} MB/s, {ours / peer:.2f} times the time of `sha256sum`")


if __name__ == "__main__":
    sys.exit(main())
