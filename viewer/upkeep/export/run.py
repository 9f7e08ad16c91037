"""Export all stored originals into a folder."""

import hashlib
import uuid
from dataclasses import dataclass, field
from pathlib import Path

import sqlalchemy as sa

from viewer import holdings, storage, transactions
from viewer.config import settings
from viewer.extensions import db, one_query
from viewer.models import MediaAttachment, RegisteredStore
from viewer.office import audit
from viewer.plurals import counted
from viewer.storage import Missing, Unavailable
from viewer.upkeep.backup.targets import target as targets
from viewer.upkeep.export import reading
from viewer.upkeep.export.folder import CannotExport, Folder, IsNeeded, opened
from viewer.upkeep.export.lines import schema
from viewer.upkeep.progress import Progress, Unwatched


@dataclass(slots=True)
class Result:
    """What was exported."""

    manifest: Path
    files: int = 0
    damaged: int = 0  # and left out, as everybody knows already
    trashed: int = 0  # and left out
    not_there: list[str] = field(default_factory=list)  # keys: the store has them not, or not whole
    last_links: list[str] = field(default_factory=list)  # paths: the store has lost these files

    def __str__(self) -> str:
        words = f"{counted(self.files, 'original')} in {self.manifest}"
        left_out = (
            (self.damaged, "damaged"),
            (self.trashed, "in the trash"),
            (len(self.not_there), "not in the store as their rows say"),
        )
        parts = [f"{count:,} {why}" for count, why in left_out if count]
        return f"{words}; left out: {', '.join(parts)}" if parts else words


def run(path: Path, *, links: bool, progress: Progress | None = None) -> Result:
    """Write the manifest, and with `links` the originals beside it. Idempotent. Commits.

    Raises CannotExport.
    """
    viewer = str(targets.viewer_identity())
    progress = progress or Unwatched()
    try:
        with opened(path, viewer, settings()) as folder, transactions.frozen() as connection:
            return _export(folder, connection, links, progress)
    except Unavailable as trouble:
        raise CannotExport(str(trouble)) from trouble


def _export(folder: Folder, connection: sa.Connection, links: bool, progress: Progress) -> Result:
    found = reading.survey(connection)
    result = Result(folder.root, damaged=found.damaged, trashed=found.trashed)
    address_of = _linking(folder, connection, result) if links else _addressing(connection)
    progress.begin("exporting", found.files)
    digest = hashlib.sha256()
    try:
        with folder.part.open("wb") as part:
            for line in reading.read(connection, address_of):
                # ASCII alone: many readers take U+2028 in a caption for the end of a line.
                content = line.model_dump_json(ensure_ascii=True).encode() + b"\n"
                digest.update(content)
                part.write(content)
                result.files += 1
                progress.advance(1)
        _note(folder, result, digest.hexdigest(), links)
        manifest = folder.publish(digest.hexdigest(), schema())
    finally:
        folder.discard_part()
    result.manifest = folder.root / manifest
    result.last_links = folder.remove_others(manifest, _needing(holdings.own_id()))
    return result


def _note(folder: Folder, result: Result, sha256: str, links: bool) -> None:
    """Where it goes the viewer watches nobody: this is said before anybody can read it."""
    words = f"{counted(result.files, 'original')} to {folder.root}"
    audit.note("export", f"{words}{', with links' if links else ''}; manifest {sha256[:16]}…")
    db.session.commit()


def _needing(own: uuid.UUID) -> IsNeeded:
    """A disaster in the store must not be completed by clearing up here."""
    media, state = MediaAttachment, MediaAttachment.State
    asked = sa.select(media.id).where(
        media.storage == own, media.state.in_((state.STORED, state.DAMAGED))
    )

    def is_needed(media_id: uuid.UUID) -> bool:
        with one_query() as connection:
            return connection.scalar(asked.where(media.id == media_id)) is not None

    return is_needed


# --- Where the bytes are -------------------------------------------------------------------


def _addressing(connection: sa.Connection) -> reading.AddressOf:
    """The address in the row's store."""
    registered = RegisteredStore.__table__
    stores = {row.id: row for row in connection.execute(sa.select(*registered.c))}
    own = holdings.own_id()

    def address_of(row: reading.Row) -> str:
        store = stores[row.storage]
        is_theirs = store.kind is RegisteredStore.Kind.FOLDER and store.id != own
        return storage.file_url(store.address, row.file_path, store.host if is_theirs else None)

    return address_of


def _linking(folder: Folder, connection: sa.Connection, result: Result) -> reading.AddressOf:
    """A hard link, named by the id: a key would tell the customer's number."""
    own, here = holdings.own_id(), holdings.own()
    _check_all_here(connection, own)

    def link(row: reading.Row) -> str | None:
        source = here.local_path(row.file_path)
        try:
            is_right = here.stat(row.file_path).size == row.file_size
        except Missing:
            is_right = False
        if source is None or not is_right:
            result.not_there.append(row.file_path)
            return None
        linked = folder.link(source, f"{row.id}{source.suffix}", row.sha256)
        if linked is None:
            result.not_there.append(row.file_path)
        return linked

    return link


def _check_all_here(connection: sa.Connection, own: uuid.UUID) -> None:
    """Raises CannotExport if an original is not in this host's folder."""
    media, store = MediaAttachment, RegisteredStore
    elsewhere = connection.execute(
        sa.select(store.address, sa.func.count())
        .join(media, media.storage == store.id)
        .where(
            media.state == media.State.STORED,
            media.storage != own,
            sa.func.coalesce(media.former_storage != own, sa.true()),
        )
        .group_by(store.address)
        .order_by(store.address)
    ).all()
    if elsewhere:
        words = ", ".join(f"{counted(count, 'original')} in {where}" for where, count in elsewhere)
        raise CannotExport(
            f"A hard link leads to a file of this host's folder alone, and there are {words}."
            " Leave out --links: the manifest then names the address of each original."
        )
