"""The journey of a backup into a repository of restic: the same promises, kept by its own means.

    copy the database ▸ list its files ▸ SHA256SUMS ▸ snapshot.json ▸ restic backup
    ▸ compare restic's list with ours ▸ read a sample of it back

restic reads the media folder itself, so all originals must be there. What it makes is a snapshot of
its own with `.viewer-backup` and `snapshots/…` as a folder target has them, and the media folder.
"""

import shutil
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa

from viewer import holdings
from viewer.config import settings
from viewer.extensions import db, now
from viewer.models import MediaAttachment, UpkeepRun
from viewer.plurals import counted
from viewer.storage import Unavailable, from_url
from viewer.storage.child import Failed
from viewer.storage.workspace import INCOMING
from viewer.upkeep import runs
from viewer.upkeep.backup import database, forgotten, snapshots, writing
from viewer.upkeep.backup.comparison import NAMED
from viewer.upkeep.backup.listing import SLICES, File, Listing
from viewer.upkeep.backup.pool import SourceAway
from viewer.upkeep.backup.restic.repository import Repository
from viewer.upkeep.backup.result import Outcome, Result
from viewer.upkeep.backup.snapshots import PREFIX, Snapshot
from viewer.upkeep.backup.targets import local_spool
from viewer.upkeep.backup.targets.folder_place import FolderPlace
from viewer.upkeep.backup.targets.place import MARKER, Refused
from viewer.upkeep.backup.targets.target import Target, marker_of, viewer_identity
from viewer.upkeep.lease import Lease
from viewer.upkeep.progress import Progress, size_in_words

SAMPLE = 10  # files that are read back by each run; restic takes half a second for one
_LEFT_OUT = (INCOMING, "shared")  # of the media folder


class ResticRun:
    """The steps, and what they have in common."""

    def __init__(
        self,
        repository: Repository,
        mine: Lease,
        progress: Progress,
        *,
        accept_changes: bool = False,
    ) -> None:
        self.repository = repository
        self.lease = mine
        self.progress = progress
        self.accept_changes = accept_changes
        self.listing = Listing()
        self.number: int | None = None
        self.counts: dict[str, Any] = {}
        self.media_root = settings().media_root.resolve()

    def close(self) -> None:
        self.listing.close()
        shutil.rmtree(self.repository.folder, ignore_errors=True)

    def do(self) -> Result:
        database.check_tools()
        _check_storage()
        local_spool.check_room(database.size(), self.repository.url)
        self.repository.call("unlock")  # of dead runs alone
        self.number, taken_at = self._next_number(), now()
        name = snapshots.name_of(self.number, taken_at)

        staged = self._stage()
        copied, facts = writing.copy_database(staged, name, self.listing)
        forgotten.write(staged)
        problems = self._leave_out_wrong()
        written = writing.write_list(staged, name, self.listing, copied)
        snapshot = writing.complete(
            staged, self.number, taken_at, self.listing, copied, written, facts
        )
        files, size = self.listing.count_promised()
        self.counts |= {"files": files, "bytes": size}
        self.lease.check()
        kept, said = self._back_up()

        self.progress.begin("comparing", SAMPLE)
        problems += self._compare(kept)
        problems += self._check_bytes(kept, snapshot)
        self.counts |= {"snapshots": self.repository.count(), "restic": kept}
        if problems:
            words = [f"Snapshot {self.number} ({kept}) is not verified.", *problems]
            return Result(Outcome.BAD, " ".join(words), self.number, self.counts)
        added = size_in_words(int(said.get("data_added", 0)))
        words = [
            f"Snapshot {self.number} ({kept}): {counted(files, 'original')}"
            f" ({size_in_words(size)}) covered, {added} added."
        ]
        if self.counts["lost"]:
            lost = counted(self.counts["lost"], "damaged file")
            words.append(f"{lost} without a right copy anywhere.")
        return Result(Outcome.GOOD, " ".join(words), self.number, self.counts)

    # --- Before ---

    def _next_number(self) -> int:
        run = UpkeepRun
        query = sa.select(sa.func.max(run.snapshot)).where(run.subject == self.repository.url)
        last = db.session.scalar(query)
        db.session.commit()
        return (last or 0) + 1

    def _stage(self) -> Target:
        """An empty folder, as a target in which there will be one snapshot."""
        folder = self.repository.folder
        shutil.rmtree(folder, ignore_errors=True)  # of a dead run
        folder.mkdir(mode=0o700, parents=True)
        url = f"folder:{folder}"
        place = FolderPlace(url, from_url(url, marker=MARKER))
        identity, viewer = self.repository.id, viewer_identity()
        place.store.mark(marker_of(identity, viewer))
        place.store.expect(marker_of(identity, viewer))
        return Target(identity, viewer, place, place.spool(identity))

    def _leave_out_wrong(self) -> list[str]:
        """Promise nothing that is not at the source. Why the run cannot be good."""
        try:
            self.listing.read_sources(holdings.store)
        except Unavailable as trouble:
            raise SourceAway(str(trouble)) from trouble
        lost, wrong = 0, []
        for file in self.listing.wrong_at_source():
            self.listing.leave_out(file)
            if _is_purged(file):
                continue
            if file.is_damaged or self.accept_changes:
                lost += 1
            else:
                wrong.append(file.key)
        self.counts |= {"lost": lost, "wrong": len(wrong)}
        if not wrong:
            return []
        names = ", ".join(wrong[:NAMED])
        return [
            f"{counted(len(wrong), 'original')} not as they came, and not in the backup: {names}."
        ]

    def _back_up(self) -> tuple[str, dict[str, Any]]:
        self.progress.begin("copying", 1)
        left_out = [f"--exclude={self.media_root / name}" for name in _LEFT_OUT]
        folders = [MARKER, PREFIX.rstrip("/"), str(self.media_root)]
        made = self.repository.back_up(self.repository.folder, *left_out, *folders)
        self.progress.advance(1)
        return made

    # --- After ---

    def keys(self, prefix: str) -> Iterator[tuple[str, int]]:
        """The media that restic says it has, by their keys."""
        for path, size in self.repository.files(self.counts["restic"]):
            if path.startswith(prefix):
                yield path, size

    def _compare(self, kept: str) -> list[str]:
        """Each promised original is in restic's list, with its size."""
        self.counts["restic"] = kept
        self.listing.read_pool(self, f"{self.media_root}/")
        bad = [file.key for file in self.listing.not_covered() if not _is_purged(file)]
        return _not_right(bad)

    def _check_bytes(self, kept: str, snapshot: Snapshot) -> list[str]:
        """Read back: all of this snapshot's own files, some originals, and a slice of all packs."""
        problems, wrong, read = [], [], 0
        for key, expected in (
            (snapshot.database, snapshot.facts["database"]),
            (snapshot.sums, snapshot.facts["list"]),
        ):
            if self.repository.sha256(kept, f"/{key}") != expected["sha256"]:
                wrong.append(key)
        for file in self.listing.sample(SAMPLE):
            path = f"{self.media_root}/{file.key}"
            if self.repository.sha256(kept, path) != file.sha256 and not _is_purged(file):
                wrong.append(file.key)
            self.progress.advance(1)
            read += 1
        self.counts["read"] = read
        if not runs.was_good_today(runs.Kind.BACKUP, self.repository.url):
            part = now().toordinal() % SLICES + 1
            try:
                self.repository.call("check", f"--read-data-subset={part}/{SLICES}")
            except Failed as failed:
                problems.append(f"The repository is damaged: {failed}")
        return [*_not_right(wrong), *problems]


def _check_storage() -> None:
    """Raises Refused where originals are not in this host's folder: restic reads nothing else."""
    media, own = MediaAttachment, holdings.own_id()
    elsewhere = sa.select(media.id).where(
        media.is_in("kept"), media.storage.is_not(None), media.storage != own
    )
    found = db.session.scalar(elsewhere.limit(1))
    db.session.commit()
    if found is not None:
        raise Refused(
            "There are originals in another store than this host's folder, which restic would not"
            " back up: use a folder, s3: or ssh: as the target."
        )


def _is_purged(file: File) -> bool:
    live = db.session.get(MediaAttachment, file.media, populate_existing=True)
    db.session.commit()
    return live is not None and live.purged_at is not None


def _not_right(keys: list[str]) -> list[str]:
    if not keys:
        return []
    names = ", ".join(keys[:NAMED])
    return [f"{counted(len(keys), 'file')} not right in the target: {names}."]
