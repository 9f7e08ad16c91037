"""The hash chain of the audit log: whoever alters, removes or inserts an entry later breaks it.

Each link hashes the one before it, so the head stands for all of them. A database holds no secret
that its administrator lacks: who writes to it may compute the whole chain anew. So each backup
records the head (`Head`), and a log that was rewritten or cut does not agree with it.

`digest` covers words, who and address, with a random salt. Words that are forgotten, with the salt,
leave the digest behind, which then says nothing of them, and the chain as it was.
"""

import hashlib
import json
import secrets
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from viewer.extensions import Lock, db, lock, now, one_query, run_upsert
from viewer.models import AuditChain, AuditEntry
from viewer.plurals import counted

EVERY = 300.0  # seconds
DAILY, WEEKLY = timedelta(hours=23), timedelta(days=7)
# A process may write down the last of an hour a little later.
HOUR, GRACE = timedelta(hours=1), timedelta(minutes=5)
AT_ONCE = 100  # links of one transaction of the task, which holds SQLite's write lock meanwhile
READ_AT_ONCE = 2_000

_entry, _head = AuditEntry.__table__.c, AuditChain.__table__.c


@dataclass(frozen=True, slots=True)
class Head:
    """The last link of a chain at some moment, as a backup recorded it."""

    place: int
    chain: str
    source: str = ""  # such as “snapshot 12 of folder:/backup”

    @classmethod
    def of(cls, facts: Any, source: str) -> "Head | None":
        """What `facts` of a snapshot say; None if it is older than the chain, or was garbled."""
        try:
            return cls(int(facts["audit"]["place"]), str(facts["audit"]["chain"]), source)
        except (KeyError, TypeError, ValueError):
            return None


@dataclass(slots=True)
class Verdict:
    """What a verification found."""

    place: int = 0  # of the head
    checked: int = 0  # links that were computed again
    erased: int = 0  # of those, entries whose words were forgotten
    heads: int = 0  # of backups, that were compared
    problems: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        if self.problems:
            more = len(self.problems) - 1
            words = f"The audit log was altered. {self.problems[0]}"
            return f"{words} And {counted(more, 'more problem')}." if more else words
        words = f"The audit log is whole: {counted(self.checked, 'entry')} verified"
        if self.erased:
            words += f", {self.erased:,} of them erased"
        if self.heads:
            words += f", compared with {counted(self.heads, 'snapshot')}"
        return f"{words}."


# --- Sealing -------------------------------------------------------------------------------


def seal(entries: Sequence[AuditEntry]) -> None:
    """Append these entries, which are flushed, to the chain. Does not commit.

    Locks the head until the transaction ends, so call it last: nothing else is waited for then.
    The objects keep their old values.
    """
    connection, moment = db.session.connection(), now()
    place, chain = _hold_head(connection)
    sealed = []
    for entry in entries:
        place += 1
        salt = secrets.token_hex(16)
        digest = _digest(salt, entry.words, entry.who, entry.address)
        chain = _link(chain, place, moment, digest, entry)
        sealed.append({"of": entry.id, "place": place, "sealed_at": moment, "salt": salt,
                       "digest": digest, "chain": chain})  # fmt: skip
    if sealed:
        connection.execute(_SEAL, sealed)
        connection.execute(_GO_ON, {"place": place, "chain": chain})


def seal_ended(counted_actions: Iterable[str]) -> int:
    """Seal the counters of past hours, and what is older than the chain. How many. Commits."""
    sealed = 0
    while True:
        this_hour = (now() - GRACE).replace(minute=0, second=0, microsecond=0)
        lock(Lock.AUDIT_COUNTS)  # nobody counts on one that is being sealed
        entries = db.session.scalars(
            sa.select(AuditEntry)
            .where(
                AuditEntry.is_unsealed(),
                AuditEntry.action.not_in(counted_actions) | (AuditEntry.at < this_hour),
            )
            .order_by(AuditEntry.id)
            .limit(AT_ONCE)
            .execution_options(populate_existing=True)
        ).all()
        if entries:
            seal(entries)
        db.session.commit()
        sealed += len(entries)
        if len(entries) < AT_ONCE:
            return sealed


# Built once: others wait for the head meanwhile.
_HEAD = sa.select(
    _head.place,
    _head.chain,
    sa.select(sa.func.max(_entry.place)).scalar_subquery().label("last"),
).with_for_update(of=AuditChain.__table__)
_SEAL = (
    sa.update(AuditEntry)
    .where(_entry.id == sa.bindparam("of"))
    .values(
        {name: sa.bindparam(name) for name in ("place", "sealed_at", "salt", "digest", "chain")}
    )
)
_GO_ON = sa.update(AuditChain).values(place=sa.bindparam("place"), chain=sa.bindparam("chain"))


def _hold_head(connection: sa.Connection) -> tuple[int, str]:
    head = connection.execute(_HEAD).first()
    if head is None:
        run_upsert(_insert_head, id=1, place=0, chain=AuditChain.START, verified_place=0,
                   verified_chain=AuditChain.START)  # fmt: skip
        head = connection.execute(_HEAD).one()
    if head.last is not None and head.last > head.place:
        # Somebody set the head back: it is seen, and nobody's work fails for that.
        last = head_of(connection)
        return last["place"], last["chain"]
    return head.place, head.chain


def _insert_head(insert: Any) -> sa.Insert:
    made: sa.Insert = insert(AuditChain).on_conflict_do_nothing(index_elements=["id"])
    return made


def _digest(salt: str, words: str, who: str, address: str | None) -> str:
    return _hash([salt, words, who, address])


def _link(before: str, place: int, sealed_at: datetime, digest: str, entry: Any) -> str:
    # Not `user_id`: it goes with the user's row, and `who` says the same.
    return _hash(
        [
            before,
            place,
            entry.id,
            _stamp(entry.at),
            _stamp(sealed_at),
            entry.action,
            entry.subject_type,
            entry.subject_id.hex if entry.subject_id else None,
            entry.times,
            digest,
        ]
    )


def _hash(values: list[Any]) -> str:
    return hashlib.sha256(json.dumps(values, separators=(",", ":")).encode()).hexdigest()


def _stamp(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="microseconds")


# --- Verifying -----------------------------------------------------------------------------


def verify(*, everything: bool = True, heads: Iterable[Head] = ()) -> Verdict:
    """Compute the links again, all or those since the last time, and compare the heads of backups.

    Writes nothing, and holds no transaction.
    """
    verdict = Verdict()
    known = _read_head() or _EMPTY
    verdict.place = known.place
    begin = (0, AuditChain.START) if everything else (known.verified_place, known.verified_chain)
    place, chain = _follow(verdict, *begin, end=known.place)
    if (place, chain) != (known.place, known.chain) and not verdict.problems:
        verdict.problems.append(f"It ends with entry {place:,}, and its head is {known.place:,}.")
    if known.place < known.verified_place:
        verdict.problems.append(
            f"It was verified up to entry {known.verified_place:,}, and has {known.place:,} now."
        )
    with one_query() as connection:
        beyond = connection.scalar(sa.select(sa.func.max(_entry.place))) or 0
    head = _read_head() or _EMPTY  # it goes on meanwhile
    if beyond > head.place:
        verdict.problems.append(f"There are entries up to {beyond:,}; its head is {head.place:,}.")
    _compare(verdict, heads)
    return verdict


def note(verdict: Verdict, *, everything: bool) -> None:
    """Record what a verification found. Commits."""
    moment = now()
    found: dict[str, Any] = {"verified_at": moment, "problem": None}
    if verdict.problems:
        found |= {"problem": str(verdict)}
    else:
        found |= {"verified_place": verdict.place, "verified_chain": _chain_at(verdict.place)}
        if everything:
            found |= {"verified_fully_at": moment}
    _hold_head(db.session.connection())
    db.session.execute(sa.update(AuditChain).values(**found))
    db.session.commit()


def verify_if_due() -> Verdict | None:
    """Daily what is new, weekly all of it. None if it is not due. Commits."""
    known, moment = _read_head(), now()
    if known is None or not _is_due(known.verified_at, DAILY, moment):
        return None
    # After a problem all is read: what is told of it is then complete, and it may be mended.
    everything = bool(known.problem) or _is_due(known.verified_fully_at, WEEKLY, moment)
    verdict = verify(everything=everything)
    note(verdict, everything=everything)
    return verdict


def disagreeing(heads: Iterable[Head]) -> list[str]:
    """A sentence for each of these heads that is not in the chain."""
    verdict = Verdict()
    _compare(verdict, heads)
    return verdict.problems


def head_of(connection: sa.Connection) -> dict[str, Any]:
    """The head in this database, for a snapshot's facts."""
    found = connection.execute(
        sa.select(_entry.place, _entry.chain).where(_entry.place.is_not(None))
        .order_by(_entry.place.desc()).limit(1)
    ).first()  # fmt: skip
    return {"place": found.place, "chain": found.chain} if found else {
        "place": 0, "chain": AuditChain.START,
    }  # fmt: skip


def state() -> AuditChain | None:
    """The head, and how far the chain was verified; for the page."""
    return db.session.scalar(sa.select(AuditChain).limit(1))


# Before anything was sealed, or where the head is gone.
_EMPTY: Any = AuditChain(
    place=0, chain=AuditChain.START, verified_place=0, verified_chain=AuditChain.START
)


def _read_head() -> Any:
    """The row as it is now, beside the session; None if there is none yet."""
    with one_query() as connection:
        return connection.execute(sa.select(AuditChain.__table__)).first()


def _is_due(last: datetime | None, every: timedelta, moment: datetime) -> bool:
    # A clock that ran ahead must not put it off for years.
    return last is None or not moment - every < last <= moment + every


def _follow(verdict: Verdict, place: int, chain: str, *, end: int) -> tuple[int, str]:
    """Compute the links after `place`, up to `end`; the last one."""
    if place and _chain_at(place) != chain:
        verdict.problems.append(f"Entry {place:,} is not as it was when it was last verified.")
    for entry in _links(place, end):
        verdict.checked += 1
        is_whole = entry.place == place + 1
        if not is_whole:
            _note_gap(verdict, place + 1, entry.place - 1)
        is_erased = entry.salt is None
        verdict.erased += is_erased
        if (is_erased and entry.words) or not (is_erased or entry.digest == _digest(
            entry.salt, entry.words, entry.who, entry.address)):  # fmt: skip
            verdict.problems.append(f"The words of entry {_named(entry)} were altered.")
        if is_whole and entry.chain != _link(
            chain, entry.place, entry.sealed_at, entry.digest, entry
        ):
            verdict.problems.append(f"Entry {_named(entry)} was altered.")
        place, chain = entry.place, entry.chain
    return place, chain


def _links(after: int, end: int) -> Iterator[Any]:
    """The sealed entries in their order, a page at a time."""
    columns = (
        _entry.place, _entry.id, _entry.at, _entry.sealed_at, _entry.action, _entry.subject_type,
        _entry.subject_id, _entry.times, _entry.salt, _entry.digest, _entry.chain, _entry.words,
        _entry.who, _entry.address,
    )  # fmt: skip
    while True:
        query = (
            sa.select(*columns)
            .where(_entry.place > after, _entry.place <= end)
            .order_by(_entry.place)
            .limit(READ_AT_ONCE)
        )
        with one_query() as connection:
            page = connection.execute(query).all()
        yield from page
        if len(page) < READ_AT_ONCE:
            return
        after = page[-1].place


def _note_gap(verdict: Verdict, first: int, last: int) -> None:
    if first == last:
        verdict.problems.append(f"Entry {first:,} is gone.")
    else:
        verdict.problems.append(f"Entries {first:,} to {last:,} are gone.")


def _named(entry: Any) -> str:
    return f"{entry.place:,} ({entry.action}, {entry.at:%Y-%m-%d %H:%M} UTC)"


def _chain_at(place: int) -> str:
    if not place:
        return AuditChain.START
    with one_query() as connection:
        return connection.scalar(sa.select(_entry.chain).where(_entry.place == place)) or ""


def _compare(verdict: Verdict, heads: Iterable[Head]) -> None:
    for head in heads:
        verdict.heads += 1
        if _chain_at(head.place) != head.chain:
            verdict.problems.append(
                f"It does not go on from {head.source}, which recorded entry {head.place:,}: it was"
                " rewritten or cut since, or an older backup was restored."
            )
