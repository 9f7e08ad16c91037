"""Snapshots in a target: one database copy and the list of its files, each complete or not there.

snapshots/000042-20261125T031500Z/database.sqlite3 | database.dump
                                 /SHA256SUMS      for `sha256sum -c` from the target's root
                                 /snapshot.json   placed last: with it the snapshot is complete
                                 /verified.json   after the comparison; names snapshot.json's hash
                                 /ACCEPTED        where there is something to list (`changes`)
"""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from viewer.failpoint import failpoint
from viewer.storage import Missing, Opened, StorageError
from viewer.upkeep.backup.targets.target import Target

PREFIX = "snapshots/"
POOL = "media/"
SUMS, FACTS, VERIFIED = "SHA256SUMS", "snapshot.json", "verified.json"
_NAME = re.compile(r"(?P<number>\d{6,9})-(?P<taken>\d{8}T\d{6}Z)")
_STAMP = "%Y%m%dT%H%M%SZ"
_LARGEST = 10_000_000  # bytes of a snapshot.json; it has a few hundred
_CHUNK = 1024 * 1024  # bytes


class DamagedSnapshot(Exception):
    """A snapshot's own files are not what its snapshot.json says."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A complete snapshot, as its snapshot.json describes it."""

    name: str
    number: int
    taken_at: datetime
    facts: dict[str, Any]
    verified: dict[str, Any] | None  # what verified.json says; None: never compared, or not right

    @property
    def is_verified(self) -> bool:
        return self.verified is not None

    @property
    def database(self) -> str:
        """The key of the database copy."""
        return f"{PREFIX}{self.name}/{self.facts['database']['name']}"

    @property
    def sums(self) -> str:
        return f"{PREFIX}{self.name}/{SUMS}"


@dataclass(slots=True)
class Found:
    """The snapshots of a target, in the order of their numbers."""

    complete: list[Snapshot] = field(default_factory=list)
    incomplete: list[str] = field(default_factory=list)  # names; of runs that were killed
    damaged: dict[str, str] = field(default_factory=dict)  # name: what is wrong with it
    highest: int = 0  # of all numbers

    @property
    def verified(self) -> list[Snapshot]:
        return [one for one in self.complete if one.is_verified]

    @property
    def newest_verified(self) -> Snapshot | None:
        return self.verified[-1] if self.verified else None


def find_all(target: Target) -> Found:
    """Every snapshot, by its own words and the sizes of its files. Raises Unavailable."""
    folders: dict[str, dict[str, int]] = {}
    for key, size in target.store.keys(PREFIX):
        name, _, file = key.removeprefix(PREFIX).partition("/")
        folders.setdefault(name, {})[file] = size
    found = Found()
    for name, files in sorted(folders.items(), key=lambda one: number_of(one[0])):
        if not _NAME.fullmatch(name):
            continue  # not ours
        found.highest = max(found.highest, number_of(name))
        if FACTS not in files:
            found.incomplete.append(name)
            continue
        try:
            found.complete.append(_read(target, name, files))
        except DamagedSnapshot as damage:
            found.damaged[name] = str(damage)
    return found


def read_list(target: Target, snapshot: Snapshot) -> Iterator[tuple[str, str]]:
    """Key (in the stores) and SHA-256 of each original. Raises DamagedSnapshot, also at the end."""
    digest = hashlib.sha256()
    try:
        for line in lines_of(target, snapshot.sums, digest):
            sha256, _, key = line.partition("  ")
            if key.startswith(POOL):
                yield key.removeprefix(POOL), sha256
    except (Missing, UnicodeDecodeError):
        raise DamagedSnapshot(f"The list of snapshot {snapshot.number} cannot be read.") from None
    if digest.hexdigest() != snapshot.facts["list"]["sha256"]:
        raise DamagedSnapshot(f"The list of snapshot {snapshot.number} is not what it was.")


def lines_of(target: Target, key: str, digest: Any) -> Iterator[str]:
    """The lines of a text, however long; `digest` is updated with its bytes.

    Raises Missing, Unavailable, UnicodeDecodeError.
    """
    rest = b""
    with target.store.open(key) as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            *lines, rest = (rest + chunk).split(b"\n")
            yield from (line.decode() for line in lines)


def find(target: Target, key: str, sha256: str) -> Opened:
    """The original with this key and hash, for the caller to hash. Raises Missing, Unavailable.

    A key is given once and its bytes never change, so it lies under its own; else the newest
    snapshot that names the hash says where.
    """
    try:
        return target.store.open(f"{POOL}{key}")
    except Missing:
        for snapshot in reversed(find_all(target).complete):
            for other, named in read_list(target, snapshot):
                if named == sha256 and other != key:
                    return target.store.open(f"{POOL}{other}")
        raise


# --- Writing -------------------------------------------------------------------------------


def name_of(number: int, taken_at: datetime) -> str:
    return f"{number:06}-{taken_at.astimezone(UTC):{_STAMP}}"


def write_list(
    target: Target, name: str, files: Iterable[tuple[str, str]], database: tuple[str, str]
) -> dict[str, Any]:
    """Write SHA256SUMS: the database's name and hash, then each file's. Its size and hash."""

    def lines() -> Iterator[bytes]:
        yield f"{database[1]}  {PREFIX}{name}/{database[0]}\n".encode()
        for key, sha256 in files:
            yield f"{sha256}  {POOL}{key}\n".encode()

    return put(target, f"{PREFIX}{name}/{SUMS}", lines())


def complete(target: Target, name: str, facts: dict[str, Any]) -> Snapshot:
    """Write snapshot.json; from now on the snapshot counts."""
    failpoint("backup.completing")
    put(target, f"{PREFIX}{name}/{FACTS}", [_json(facts)])
    failpoint("backup.complete")
    return Snapshot(name, facts["number"], _taken_at(facts), facts, None)


def mark_verified(target: Target, snapshot: Snapshot, facts: dict[str, Any]) -> None:
    """Write verified.json: all that the snapshot names was compared."""
    facts = {"snapshot_sha256": hashlib.sha256(_json(snapshot.facts)).hexdigest(), **facts}
    put(target, f"{PREFIX}{snapshot.name}/{VERIFIED}", [_json(facts)])
    failpoint("backup.verified")


def remove(target: Target, name: str) -> None:
    """Remove a snapshot: first what makes it count. Raises Unavailable."""
    keys = [key for key, _ in target.store.keys(f"{PREFIX}{name}/")]
    first = [f"{PREFIX}{name}/{file}" for file in (VERIFIED, FACTS)]
    for key in sorted(keys, key=lambda key: first.index(key) if key in first else len(first)):
        target.store.remove(key)
        failpoint("backup.pruning")
    target.forget_empty_folders(f"{PREFIX}{name}/")


def remove_empty_folders(target: Target) -> None:
    """What a removal left that died before its last step."""
    target.forget_empty_folders(PREFIX)


def set_aside(target: Target, name: str) -> None:
    """Move a damaged snapshot to the quarantine of the target. Raises StorageError."""
    for key, _ in list(target.store.keys(f"{PREFIX}{name}/")):
        target.store.move(key, f"quarantine/{key}")
    target.forget_empty_folders(f"{PREFIX}{name}/")


def put(target: Target, key: str, pieces: Iterable[bytes]) -> dict[str, Any]:
    """Write a file of these bytes. Its size and hash."""
    part = target.spool.new_part()
    try:
        digest, size = hashlib.sha256(), 0
        for piece in pieces:
            digest.update(piece)
            size += part.write(piece)
        part.seal()
        target.store.place(key, part.path)
    finally:
        part.discard()
    return {"size": size, "sha256": digest.hexdigest()}


# --- Reading -------------------------------------------------------------------------------


def _read(target: Target, name: str, files: dict[str, int]) -> Snapshot:
    raw = _small_file(target, f"{PREFIX}{name}/{FACTS}")
    try:
        facts = json.loads(raw)
        number, taken_at = int(facts["number"]), _taken_at(facts)
        expected = {facts["database"]["name"]: facts["database"], SUMS: facts["list"]}
        sizes = {file: int(one["size"]) for file, one in expected.items()}
        is_readable = all(isinstance(one["sha256"], str) for one in expected.values())
    except (ValueError, KeyError, TypeError, AttributeError):
        is_readable = False
    if not is_readable:
        raise DamagedSnapshot("Its snapshot.json cannot be read.")
    if name != name_of(number, taken_at):
        raise DamagedSnapshot("Its snapshot.json names another snapshot.")
    for file, size in sizes.items():
        if files.get(file) != size:
            raise DamagedSnapshot(f"Its {file} has {files.get(file, 0)} bytes, not {size}.")
    return Snapshot(name, number, taken_at, facts, _read_verified(target, name, files, raw))


def _read_verified(
    target: Target, name: str, files: dict[str, int], raw: bytes
) -> dict[str, Any] | None:
    if VERIFIED not in files:
        return None
    try:
        said: dict[str, Any] = json.loads(_small_file(target, f"{PREFIX}{name}/{VERIFIED}"))
        is_right = said["snapshot_sha256"] == hashlib.sha256(raw).hexdigest()
    except (ValueError, KeyError, TypeError):
        is_right = False
    return said if is_right else None


def check_files(target: Target, snapshot: Snapshot) -> None:
    """Hash the database copy and the list. Raises DamagedSnapshot, Unavailable."""
    for key, expected in (
        (snapshot.database, snapshot.facts["database"]),
        (snapshot.sums, snapshot.facts["list"]),
    ):
        try:
            found = target.sha256(key)
        except Missing:
            found = ""
        if found != expected["sha256"]:
            raise DamagedSnapshot(f"{key} is not what it was.")


def _small_file(target: Target, key: str) -> bytes:
    try:
        with target.store.open(key, 0, _LARGEST) as file:
            return b"".join(iter(lambda: file.read(_CHUNK), b""))
    except StorageError as trouble:
        if isinstance(trouble, Missing):
            raise DamagedSnapshot(f"{key} is gone.") from None
        raise


def number_of(name: str) -> int:
    """The number in a snapshot's name; 0 where there is none."""
    found = _NAME.fullmatch(name)
    return int(found["number"]) if found else 0


def _taken_at(facts: dict[str, Any]) -> datetime:
    return datetime.strptime(facts["taken_at"], _STAMP).replace(tzinfo=UTC)


def stamp(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):{_STAMP}}"


def _json(facts: dict[str, Any]) -> bytes:
    return json.dumps(facts, indent=1, sort_keys=True).encode() + b"\n"
