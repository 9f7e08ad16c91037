"""Files in the store as collect and copies leave them, without the way there."""

import hashlib
import uuid
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from flask import current_app

from tests.support import factories, homes
from tests.support.damage import harm
from tests.support.pictures import picture
from viewer import derive, holdings, storage
from viewer.extensions import db, now
from viewer.intake import derivatives
from viewer.models import MediaAttachment, Message, RegisteredStore
from viewer.storage import Spool, Store

CopyState = MediaAttachment.CopyState


def keep(
    content: bytes | None = None,
    message: Message | None = None,
    *,
    with_copies: bool = False,
    **values: Any,
) -> MediaAttachment:
    """A stored file with its bytes. Its copies are real ones, if asked for."""
    content = picture() if content is None else content
    message = message or factories.text(
        factories.customer(f"+1617555{uuid.uuid4().int % 10_000:04}")
    )
    kind = derive.sniff(content)
    name = f"2026/09/21/617-555-0123/messages/{uuid.uuid4()}"
    values.setdefault("storage", homes.own_id())
    place(content, f"{name}.{kind.extension}", holdings.spool(), homes.own())
    [media] = factories.files(
        message,
        **{
            "file_path": f"{name}.{kind.extension}",
            "file_stem": name,
            "sha256": hashlib.sha256(content).hexdigest(),
            "file_size": len(content),
            "mime_type": kind.mime_type,
            "media_type": MediaAttachment.MediaType(kind.media_type),
            "downloaded_at": now(),
            "copy_state": CopyState.DUE if with_copies else CopyState.MADE,
            "copy_due_at": now() if with_copies else None,
            **values,
        },
    )
    if with_copies:
        assert derivatives.make_copies(media.id)
        db.session.refresh(media)
        db.session.commit()
    return media


def place(content: bytes, key: str, spool: Spool, store: Store) -> None:
    """These bytes under this key, as collect places them. Raises what the store raises."""
    part = spool.new_part()
    try:
        part.write(content)
        part.seal()
        store.place(key, part.path)
    finally:
        part.discard()


def other_store(root: Path) -> RegisteredStore:
    """A second store that this host reaches, as one in S3 is: a folder with its marker."""
    row = RegisteredStore(kind=RegisteredStore.Kind.S3, address=f"folder:{root}")
    db.session.add(row)
    db.session.commit()
    storage.from_url(row.address or "").mark(str(row.id))
    return row


def bucket(url: str) -> RegisteredStore:
    """A registered and marked store in S3; the settings have its access key."""
    made = RegisteredStore(id=uuid.uuid4(), kind=RegisteredStore.Kind.S3, address=url)
    db.session.add(made)
    db.session.commit()
    holdings.store(made.id).mark(str(made.id))
    return made


def keep_only_in(store: RegisteredStore, content: bytes, small: bytes, **values: Any) -> Any:
    """A stored file and its thumbnail, of which nothing is in this host's folder."""
    media = keep(content, storage=store.id, **values)
    media.thumbnail_path = f"{media.file_stem}_thumb.jpg"
    db.session.commit()
    for key, body in ((media.file_path, content), (media.thumbnail_path, small)):
        place(body, key, holdings.spool(), holdings.store(store.id))
    holdings.own().remove(media.file_path)
    return media


def keep_in(store: RegisteredStore, content: bytes) -> MediaAttachment:
    """A stored file whose row names this store; its bytes are in this host's folder as well."""
    media = keep(content, storage=store.id)
    place(content, media.file_path, holdings.spool(), holdings.store(store.id))
    return media


def path_of(media: MediaAttachment) -> Path:
    """The original's file in this host's folder, made writable."""
    root: Path = current_app.config["SETTINGS"].media_root
    path = root / media.file_path
    path.chmod(0o644)
    return path


def harm_original(media: MediaAttachment, how: str) -> None:
    """Let somebody cut, flip or take away the original, wherever it is."""
    if isinstance(homes.own(), storage.Folder):
        harm(path_of(media), how)
        return
    with homes.own().open(media.file_path) as file:
        content = file.read()
    homes.own().remove(media.file_path)
    left = {"cut": content[:-1], "flipped": content[:-1] + bytes([content[-1] ^ 1])}.get(how)
    if left is not None:
        place(left, media.file_path, holdings.spool(), homes.own())


def painted(media: list[MediaAttachment]) -> list[MediaAttachment]:
    """The same photos, with pictures to be seen: each is its own thumbnail and preview."""
    for index, one in enumerate(media):
        content = picture(48, 36, colour=(120, 110 + 9 * (index % 10), 100))
        place(content, one.file_path, holdings.spool(), homes.own())
        one.file_size = len(content)
        one.thumbnail_path = one.preview_path = one.file_path
        one.width, one.height = 48, 36
        one.copy_state, one.downloaded_at = CopyState.MADE, now()
    db.session.commit()
    return media


def stored_bytes(media: MediaAttachment) -> tuple[str, int, int]:
    """What must never change of an original: its hash, when it was written, who may write."""
    if not isinstance(homes.own(), storage.Folder):
        with homes.own().open(media.file_path) as file:
            content = file.read()
        return hashlib.sha256(content).hexdigest(), len(content), 0
    path = holdings.own().root / media.file_path
    found = path.stat()
    return hashlib.sha256(path.read_bytes()).hexdigest(), found.st_mtime_ns, found.st_mode


def twin(of: MediaAttachment, name: str, **values: Any) -> MediaAttachment:
    """A row that shares the bytes of another: a long conversation without waiting for it."""
    shared = (
        "conversation_id", "message_id", "sha256", "file_size", "mime_type", "media_type", "state",
        "downloaded_at", "storage", "verified_at", "thumbnail_path", "preview_path", "width",
        "height",
    )  # fmt: skip
    media = MediaAttachment(
        **{column: getattr(of, column) for column in shared},
        file_path=f"{name}.jpg",
        file_stem=name,
        source_key=name,
        **values,
    )
    db.session.add(media)
    return media


def row(media_id: Any) -> MediaAttachment:
    """As the database has it now. No transaction stays open: on SQLite it would lock others out."""
    db.session.rollback()
    found = db.session.get(MediaAttachment, media_id, populate_existing=True)
    db.session.commit()  # unlike after a rollback, reading it begins no transaction
    assert found is not None
    return found


def photos() -> list[MediaAttachment]:
    """All of them, in the same way."""
    db.session.rollback()
    all_of_them = sa.select(MediaAttachment).order_by(MediaAttachment.file_path)
    fresh = all_of_them.execution_options(populate_existing=True)
    found = list(db.session.scalars(fresh))
    db.session.commit()
    return found


def originals_below(folder: Path) -> list[bytes]:
    """What texts brought, without the copies."""
    return sorted(
        path.read_bytes()
        for path in folder.glob("2*/**/messages/*")
        if path.is_file() and not path.stem.endswith(("_thumb", "_preview"))
    )
