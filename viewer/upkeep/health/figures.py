"""What the health of a system consists of."""

import enum
import os
import shutil
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Self

from viewer.models import Checkpoint, MediaAttachment
from viewer.upkeep import verify
from viewer.upkeep.backup import coverage
from viewer.upkeep.health.growth import Outlook
from viewer.upkeep.health.stores import StoreState
from viewer.upkeep.health.tasks import WatchedTask

State = MediaAttachment.State

LEAST_FREE = 0.10  # of a disk
MOST_WAITING = 10_000


class Level(enum.StrEnum):
    BROKEN = "broken"
    ATTENTION = "attention"


@dataclass(frozen=True, slots=True)
class Alarm:
    name: str  # stable, for machines
    level: Level
    words: str  # a sentence
    step: str = ""  # what to do about it, for the page; may name our address


@dataclass(frozen=True, slots=True)
class Disk:
    """A disk, as this user finds it: what is reserved for root is not free."""

    name: str
    free: int  # bytes
    total: int
    free_inodes: int  # one is needed for each file
    inodes: int  # 0: this file system has no fixed number

    @classmethod
    def of(cls, name: str, folder: Path) -> Self:
        """Raises OSError."""
        found, usage = os.statvfs(folder), shutil.disk_usage(folder)
        return cls(name, usage.free, usage.total, found.f_favail, found.f_files)

    @property
    def is_low(self) -> bool:
        return self.free < self.total * LEAST_FREE

    @property
    def is_low_on_inodes(self) -> bool:
        return self.free_inodes < self.inodes * LEAST_FREE


@dataclass(frozen=True, slots=True)
class Protection:
    """How many originals would outlive the loss of their store."""

    originals: int
    in_two_places: int  # in a store and in a verified backup

    @property
    def alone(self) -> int:
        return self.originals - self.in_two_places


@dataclass(frozen=True, slots=True)
class Waiting:
    """What is due now and waits for a worker; counting stops at MOST_WAITING of each."""

    events: int  # deliveries not ingested yet
    files: int  # to be collected
    copies: int  # originals whose derivatives are to be made

    @property
    def total(self) -> int:
        return self.events + self.files + self.copies


@dataclass(frozen=True, slots=True)
class Health:
    """Everything that was looked at."""

    states: dict[MediaAttachment.State, int]
    incomplete: int  # files that came cut off, and nobody has accepted them as they are
    counted_at: datetime | None  # when stored and trashed files were counted; None: just now
    bytes_stored: int
    oldest_waiting: datetime | None  # of the files on their way
    last_event: datetime | None
    subscription: Checkpoint | None  # what the catch-up found; None: nobody looked lately
    unread_events: int
    unparsed_events: int
    refused: dict[str, int]  # by reason, in the last 24 hours
    cut: dict[str, int]  # connections, by reason, in the last 24 hours
    waiting: Waiting
    workers: dict[str, int] | None  # alive, by queue; None: Redis does not answer
    tasks: list[WatchedTask]
    disks: list[Disk]
    stores: list[StoreState]
    outlook: Outlook
    store_problem: str | None  # why the store is away
    unconfined_by: list[str]  # what this host's kernel lacks to confine decoders
    fallback_read_at: datetime | None  # a file came from elsewhere than its row says
    is_audit_log_altered: bool
    checks: verify.Overview
    backups: coverage.Overview
    protection: Protection
    alarms: list[Alarm]

    @property
    def worst(self) -> Level | None:
        """None if there is no alarm."""
        levels = {alarm.level for alarm in self.alarms}
        return next((level for level in Level if level in levels), None)

    @property
    def is_broken(self) -> bool:
        return any(alarm.level is Level.BROKEN for alarm in self.alarms)

    @property
    def on_their_way(self) -> int:
        return self.states.get(State.PENDING, 0) + self.states.get(State.DOWNLOADING, 0)

    @property
    def needing_attention(self) -> int:
        states = (State.NEEDS_ATTENTION, State.DAMAGED)
        return self.incomplete + sum(self.states.get(one, 0) for one in states)
