"""Bring every stored file into one store, while the viewer is in use.

It may be killed and run again at any time: each row says where it is. At the end it looks for rows
that were stored meanwhile, until there are none.
"""

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from viewer import holdings
from viewer.extensions import begin_writing, db, now, one_query
from viewer.holdings import Outcome, StrangeFile, WrongBytes
from viewer.models import MediaAttachment, UpkeepRun
from viewer.office import findings
from viewer.plurals import counted
from viewer.storage import Unavailable
from viewer.upkeep import runs
from viewer.upkeep.move.target import Target
from viewer.upkeep.progress import size_in_words
from viewer.upkeep.threads import in_threads

log = logging.getLogger(__name__)

BATCH = 1000  # rows of one query
PAUSES = (1.0, 2.0, 4.0, 8.0, 16.0)  # seconds, while a store does not answer
LISTED = 20  # files that could not be moved

Advance = Callable[[int, int], None]  # told of so many files and bytes that were moved


@dataclass(frozen=True, slots=True)
class Survey:
    """What there is to be moved to a store."""

    files: int = 0
    size: int = 0  # bytes of originals
    damaged: int = 0  # known; they stay where they are until they are repaired
    elsewhere: int = 0  # in folders of other hosts, which push them themselves


@dataclass(slots=True)
class Result:
    """How a move went."""

    moved: int = 0
    size: int = 0  # bytes of originals and derivatives
    held: int = 0  # for which it is too early: an earlier move is not over yet
    damaged: list[str] = field(default_factory=list)  # keys
    strange: list[str] = field(default_factory=list)  # keys under which the target has other bytes
    left: Survey = Survey()
    problem: str | None = None

    @property
    def outcome(self) -> UpkeepRun.Outcome:
        if self.problem:
            return UpkeepRun.Outcome.FAILED
        is_bad = self._damaged or self.strange
        return UpkeepRun.Outcome.BAD if is_bad else UpkeepRun.Outcome.GOOD

    @property
    def _damaged(self) -> int:
        # Both have what was found now; only the survey at the end has what was known before.
        return max(len(self.damaged), self.left.damaged)

    @property
    def is_whole(self) -> bool:
        return self.outcome is UpkeepRun.Outcome.GOOD and not self.held

    def __str__(self) -> str:
        parts = [f"{counted(self.moved, 'file')} moved ({size_in_words(self.size)})"]
        left = (
            (self._damaged, "damaged, and left where they are"),
            (len(self.strange), "stopped by other bytes under their name"),
            (self.held, "held by an earlier move, to be moved later"),
            (self.left.elsewhere, "in other hosts' folders, to be pushed by them"),
        )
        parts += [f"{count:,} {words}" for count, words in left if count]
        return ", ".join(parts) + (f". {self.problem}" if self.problem else ".")

    def counts(self) -> dict[str, Any]:
        return {
            "files": self.moved,
            "bytes": self.size,
            "held": self.held,
            "damaged": self._damaged,
            "strange": len(self.strange),
            "elsewhere": self.left.elsewhere,
        }


class Pace:
    """Lets no more bytes pass in a second than was asked for; None: as many as will."""

    def __init__(self, most: float | None) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._free_at = 0.0

    def take(self, size: int) -> None:
        """Wait until so many bytes may have passed."""
        if self._most is None:
            return
        with self._lock:
            begin = max(time.monotonic(), self._free_at)
            self._free_at = begin + size / self._most
        time.sleep(max(0.0, begin - time.monotonic()))


class Move:
    """One run. Its target is registered and wanted already."""

    def __init__(self, target: Target, threads: int, pace: Pace) -> None:
        self._target = target
        self._threads = threads
        self._pace = pace
        # One writes to SQLite at a time: threads that wait here need not ask it again and again.
        is_sqlite = db.engine.dialect.name == "sqlite"
        self._turn = threading.Lock() if is_sqlite else contextlib.nullcontext()
        self.result = Result()

    def survey(self) -> Survey:
        media = MediaAttachment
        is_here, is_bad = holdings.is_within_reach(), findings.is_known_damaged()
        files, size, damaged, elsewhere = db.session.execute(
            sa.select(
                sa.func.count().filter(is_here, ~is_bad),
                sa.func.sum(media.file_size).filter(is_here, ~is_bad),
                sa.func.count().filter(is_here, is_bad),
                sa.func.count().filter(~is_here),
            ).where(self._is_to_move())
        ).one()
        db.session.commit()
        return Survey(files, int(size or 0), damaged, elsewhere)

    def run(self, advance: Advance) -> Result:
        """Move everything that this host reaches. Recorded as a run. Commits."""
        record = runs.begin(UpkeepRun.Kind.MOVE, self._target.store.address)
        result = self.result
        try:
            self._let_others_push()
            while self._pass(advance):
                pass
            result.left = self.survey()
        except Unavailable as trouble:
            result.problem = f"It goes on from here when it is begun again. {trouble}"
        runs.finish(record, result.outcome, str(result), result.counts())
        return result

    def _pass(self, advance: Advance) -> bool:
        """Walk over all rows once. Whether any was moved, so that another look is due."""
        before, self.result.held = self.result.moved, 0
        for row, (outcome, size) in in_threads(self._bring, self._rows(), self._threads):
            if outcome is Outcome.MOVED:
                self.result.moved += 1
                self.result.size += size
                advance(1, size)
            elif outcome is Outcome.HELD:
                self.result.held += 1
            elif isinstance(outcome, WrongBytes):
                self.result.damaged.append(row.file_path)
            elif isinstance(outcome, StrangeFile):
                self.result.strange.append(row.file_path)
        return self.result.moved > before

    def _bring(self, row: sa.Row[*tuple[Any, ...]]) -> tuple[object, int]:
        self._pace.take(row.file_size or 0)
        for pause in (*PAUSES, None):
            try:
                moved = holdings.move(row.id, self._target.id, turn=self._turn)
                return moved.outcome, row.file_size or 0
            except WrongBytes as trouble:
                findings.note_wrong_bytes(row.id, trouble)
                return trouble, 0
            except StrangeFile as trouble:
                log.error("media=%s: %s", row.id, trouble)
                return trouble, 0
            except Unavailable as trouble:
                if pause is None:
                    raise
                log.warning("media=%s: once more in %g s: %s", row.id, pause, trouble)
            time.sleep(pause)
        raise AssertionError("the last try returns or raises")

    def _rows(self) -> Iterator[sa.Row[*tuple[Any, ...]]]:
        """What is still elsewhere, without what this run could not move, a page at a time."""
        media, last = MediaAttachment, ""
        query = (
            sa.select(media.id, media.file_path, media.file_size)
            .where(self._is_to_move(), holdings.is_within_reach(), ~findings.is_known_damaged())
            .order_by(media.file_path)
            .limit(BATCH)
        )
        while True:
            with one_query() as connection:
                rows = connection.execute(query.where(media.file_path > last)).all()
            if not rows:
                return
            last = rows[-1].file_path
            skipped = set(self.result.strange)
            yield from (row for row in rows if row.file_path not in skipped)

    def _is_to_move(self) -> sa.ColumnElement[bool]:
        media = MediaAttachment
        return media.is_in("kept") & (media.storage != self._target.id)

    def _let_others_push(self) -> None:
        """Files in folders of other hosts: only these can read them, and push what is due."""
        if self._target.store is holdings.own():
            return
        begin_writing()
        db.session.execute(
            sa.update(MediaAttachment)
            .where(
                self._is_to_move(),
                ~holdings.is_within_reach(),
                MediaAttachment.push_due_at.is_(None),
            )
            .values(push_wanted_at=now(), push_due_at=now())
            .execution_options(synchronize_session=False)
        )
        db.session.commit()
