"""Download one file and store it: claim, download, check, place, and only then mark it `stored`.

This order keeps two promises: a row marked `stored` has its bytes on disk, at whichever moment the
power fails, and no photo is ever replaced by another:

 1. claim the row with one conditional UPDATE that takes a lease; the attempt number is the fencing
    token
 2. adopt a file that already has the final name and the checksum that an earlier run recorded
    before it died
 3. download into a part in the workspace, computing checksum and size
 4. check what arrived: not empty, not an error page, its type by content
 5. seal the part (fsync)
 6. record its name and checksum, then place it: create folders, link, fsync the folder
 7. commit `stored`, but only if the lease is still ours
"""

import contextlib
import hashlib
import itertools
import json
import logging
import random
import shutil
import uuid
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from viewer import derive, holdings, leases
from viewer.config import Settings, settings
from viewer.extensions import db, now, one_query
from viewer.failpoint import failpoint
from viewer.intake import addresses, duplicates, error_pages, fetch, naming, rest_client
from viewer.intake.error_pages import Verdict
from viewer.models import MediaAttachment
from viewer.quo import rest
from viewer.storage import (
    Checksum,
    Missing,
    Occupied,
    Part,
    StorageError,
    Store,
    Unavailable,
    checksum,
    keys,
)

log = logging.getLogger(__name__)

CHUNK = 1024 * 1024  # bytes
SMALLEST_KEPT = 1_000_000  # bytes; a smaller beginning is quickly downloaded again
LONGEST_TRANSFER = 6  # times TRANSFER_SECONDS, of a slow download that goes on
# A lease outlives its holder by no more than this; the holder renews it while it works.
LEASE = timedelta(seconds=25)
RENEW_EVERY = 8.0  # seconds

# How long until the next try after so many failures of the source. Addresses may live for minutes,
# so the first tries come quickly; for a day never further apart than 15 minutes.
FIRST_PAUSES = (5.0, 30.0, 120.0, 300.0)
LATER_PAUSES = (  # since the first failure, at most this far apart
    (timedelta(days=1), timedelta(minutes=15)),
    (timedelta(days=3), timedelta(hours=1)),
    (timedelta(days=30), timedelta(days=1)),
)
PATIENCE = timedelta(minutes=15)  # then a person should know
# A host that died between placing a file and saying so may be back in a moment, and by then the
# provider may have the file no more. So no other host tries before; afterwards any does.
LEFT_TO_ITS_HOST = timedelta(minutes=2)
ADOPTED_AT_ONCE = 500  # files
STORAGE_PAUSE = timedelta(seconds=30)  # the disk's trouble is not the source's

NO_SOUND = "It is no kind of sound that we know."  # of a voicemail or recording
_TELLING = ("image/", "video/", "audio/")  # declared types that say what a file shows

State = MediaAttachment.State
Trouble = MediaAttachment.Trouble


class LostClaim(Exception):
    """Another run holds the lease of this row now: ours has no effect."""


class NotTheFile(Exception):
    """The response is not the file: an error page, or nothing we can trust."""

    trouble = MediaAttachment.Trouble.NOT_THE_FILE


class Doubtful(NotTheFile):
    """The response is perhaps not the file: a person decides."""

    trouble = MediaAttachment.Trouble.DOUBTFUL


@dataclass(frozen=True, slots=True)
class Claim:
    """A run's lease of one row, with the fields the run needs."""

    media_id: uuid.UUID
    attempt: int
    url: str | None
    file_path: str
    role: MediaAttachment.Role
    declared_type: str | None
    failures: int
    first_failed_at: datetime | None
    sha256: str | None  # of what an earlier run was about to place


@dataclass(frozen=True, slots=True)
class Receipt:
    """What was stored: size, checksum, type."""

    size: int
    sha256: str
    kind: derive.Kind
    head: bytes = b""  # its beginning


def collect(media_id: uuid.UUID) -> bool:
    """Download this file and store it. True if it was stored now; else the row says why not."""
    claim = _claim(media_id)
    if claim is None:
        return False
    failpoint("collect.claimed")
    store = holdings.own()
    try:
        storage = holdings.own_id()
        with _renewed(claim):
            adopted = _adopt(store, claim)
            receipt = adopted or _download(store, claim)
    except LostClaim:
        log.info("media=%s attempt=%d lost its claim", media_id, claim.attempt)
        return False
    except StorageError as trouble:
        _later(claim, str(trouble))
        return False
    except fetch.Unreachable as trouble:
        _failed(claim, trouble.reason, retry_after=trouble.retry_after)
        return False
    except fetch.Gone as trouble:
        _failed(claim, trouble.reason, at_once=True)
        return collect(media_id) if _freshen(claim) else _adopt_orphan(store, claim, storage)
    except fetch.Refused as trouble:
        _failed(claim, trouble.reason, Trouble.REFUSED, at_once=True)
        return False
    except NotTheFile as trouble:
        _failed(claim, str(trouble), trouble.trouble, at_once=True)
        return False
    failpoint("collect.placed")
    if not _mark_stored(claim, receipt, storage):
        return False
    failpoint("collect.stored")
    log.info("media=%s stored bytes=%d adopted=%s", media_id, receipt.size, bool(adopted))
    return True


def accept(media_id: uuid.UUID) -> bool:
    """Take what came instead of this file for the file: a person looked at it. Whether it is here.

    Commits. Raises StorageError; then the row says what it said before.
    """
    claim = _claim_rejected(media_id)
    if claim is None:
        return False
    store, part = holdings.own(), holdings.spool().new_part()
    try:
        with _renewed(claim):
            with store.open(keys.rejected(media_id)) as kept:
                shutil.copyfileobj(kept, part, CHUNK)
            part.seal()
            receipt = receipt_of(part, claim.declared_type, naming.file_name(claim.url))
            _place_original(store, claim, part.path, receipt)
    except LostClaim:
        return False
    except StorageError:
        _write(claim, state=State.NEEDS_ATTENTION, lease_until=None)
        raise
    finally:
        part.discard()
    return _mark_stored(claim, receipt, holdings.own_id(), accepted_at=now())


def retry(media_id: uuid.UUID) -> bool:
    """Retry now as if for the first time: a person asked. Whether it waits for that.

    The caller commits, and reminds.
    """
    return MediaAttachment.change_if(
        media_id,
        MediaAttachment.state.in_((State.PENDING, State.NEEDS_ATTENTION)),
        sa.func.coalesce(MediaAttachment.openphone_url, "") != "",
        state=State.PENDING,
        problem=None,
        trouble=None,
        next_attempt_at=now(),
        failures=0,
        first_failed_at=None,
    )


# --- 1. claim ------------------------------------------------------------------------------


def _claim(media_id: uuid.UUID) -> Claim | None:
    """Claim the row if it is due. What another host may have placed is left to it for a while."""
    media, moment = MediaAttachment, now()
    is_left_to_another = (
        (media.state == State.DOWNLOADING)
        & media.storage.is_not(None)
        & (media.storage != holdings.own_id())
        & (media.lease_until > moment - LEFT_TO_ITS_HOST)
    )
    return _take_lease(media_id, media.is_due(moment) & ~is_left_to_another)


def _claim_rejected(media_id: uuid.UUID) -> Claim | None:
    """Claim a row that waits for a person's judgement of what came."""
    media = MediaAttachment
    return _take_lease(
        media_id,
        (media.state == State.NEEDS_ATTENTION)
        & media.trouble.in_((Trouble.NOT_THE_FILE, Trouble.DOUBTFUL)),
    )


def _take_lease(media_id: uuid.UUID, condition: sa.ColumnElement[bool]) -> Claim | None:
    moment = now()
    media = MediaAttachment
    row = db.session.execute(
        sa.update(media)
        .where(media.id == media_id, condition)
        .values(attempts=media.attempts + 1, state=State.DOWNLOADING, lease_until=moment + LEASE)
        .returning(
            media.attempts.label("attempt"),
            media.openphone_url.label("url"),
            media.file_path,
            media.role,
            media.declared_type,
            media.failures,
            media.first_failed_at,
            media.sha256,
        )
        .execution_options(synchronize_session=False)
    ).one_or_none()
    db.session.commit()
    return Claim(media_id, **row._asdict()) if row else None


def _renewed(claim: Claim) -> AbstractContextManager[None]:
    """Renew the lease meanwhile: a slow server or disk must not look like a dead run."""
    engine = db.engine

    def renew() -> bool:
        with engine.begin() as connection:
            done = connection.execute(_mine(claim).values(lease_until=now() + LEASE))
            return bool(done.rowcount)

    return leases.renewed(renew, RENEW_EVERY, "lease")


def _mine(claim: Claim) -> sa.Update:
    return (
        sa.update(MediaAttachment)
        .where(MediaAttachment.id == claim.media_id, MediaAttachment.attempts == claim.attempt)
        .where(MediaAttachment.state == State.DOWNLOADING)
        .execution_options(synchronize_session=False)
    )


def _write(claim: Claim, **values: Any) -> bool:
    """Update the row if this run still holds its lease."""
    done = db.session.execute(_mine(claim).values(**values))
    db.session.commit()
    return bool(done.rowcount)  # type: ignore[attr-defined]


# --- 2. adopt ------------------------------------------------------------------------------


def _adopt(store: Store, claim: Claim) -> Receipt | None:
    """Adopt the file that an earlier run placed before it died: only whole files get a name."""
    if claim.sha256 is None:
        return None
    found = _what_lies_under(store, claim.file_path, claim)
    if found is None or found.sha256 != claim.sha256:
        return None  # not what that run was about to place: it is downloaded again
    store.settle(claim.file_path)
    return found


def adopt_own() -> int:
    """Adopt what runs of this host placed before they died, and nobody has stored since. How many.

    Also where the row was given up meanwhile, as other hosts found no file and a dead address.
    Commits.
    """
    media, moment = MediaAttachment, now()
    is_ours = sa.and_(
        media.is_in("to_collect"),
        media.storage == holdings.own_id(),
        media.sha256.is_not(None),
        (media.state != State.DOWNLOADING) | media.has_expired_lease(moment),
    )
    with one_query() as connection:
        found = list(connection.scalars(sa.select(media.id).where(is_ours).limit(ADOPTED_AT_ONCE)))
    return sum(_adopt_now(media_id, is_ours) for media_id in found)


def _adopt_now(media_id: uuid.UUID, condition: sa.ColumnElement[bool]) -> bool:
    claim = _take_lease(media_id, condition)
    if claim is None:
        return False
    receipt = None
    try:
        receipt = _adopt(holdings.own(), claim)
    except StorageError as trouble:
        _later(claim, str(trouble))
        return False
    if receipt is None:  # it was never placed: from the start, by whoever comes first
        nothing = {"sha256": None, "storage": None}
        _write(claim, state=State.PENDING, lease_until=None, next_attempt_at=now(), **nothing)
        return False
    return _mark_stored(claim, receipt, holdings.own_id())


def _adopt_orphan(store: Store, claim: Claim, storage: uuid.UUID) -> bool:
    """Adopt the file that lies under this row's name, now that the provider has it no more.

    So it is after an older database was restored beside newer files: the events come again, the
    addresses in them are dead, and the bytes are here. A name says the conversation, the second and
    the place in the message, and only whole files get one.
    """
    try:
        found = _orphan_of(store, claim)
        if found is None or not _take_up(claim):
            return False
        path, receipt = found
        store.settle(path)
        if not _intend(claim, path, receipt) or not _mark_stored(claim, receipt, storage):
            return False
    except StorageError as trouble:
        log.warning("media=%s: no orphan was looked for: %s", claim.media_id, trouble)
        return False
    except LostClaim:
        return False
    log.warning("media=%s stored: adopted %s, which no row named", claim.media_id, path)
    return True


def _orphan_of(store: Store, claim: Claim) -> tuple[str, Receipt] | None:
    """The one file with this row's name, whatever its extension, if its type is what was said."""
    found = []
    for path, _ in store.keys(f"{keys.stem(claim.file_path)}."):
        receipt = _what_lies_under(store, path, claim)
        if receipt and _verdict(receipt, claim) is Verdict.FILE:
            found.append((path, receipt))
    if len(found) != 1:
        return None
    [(path, receipt)] = found
    family = f"{(claim.declared_type or '').partition('/')[0].lower()}/"
    is_expected = family not in _TELLING or receipt.kind.mime_type.startswith(family)
    return (path, receipt) if is_expected else None


def _take_up(claim: Claim) -> bool:
    """Take the row again that this run has just given up. False if another run has it."""
    media = MediaAttachment
    done = db.session.execute(
        sa.update(media)
        .where(media.id == claim.media_id, media.attempts == claim.attempt)
        .where(media.state == State.NEEDS_ATTENTION)
        .values(state=State.DOWNLOADING, lease_until=now() + LEASE)
        .execution_options(synchronize_session=False)
    )
    db.session.commit()
    return bool(done.rowcount)  # type: ignore[attr-defined]


def receipt_of(part: Part, declared: str | None = None, name: str | None = None) -> Receipt:
    """What a sealed part holds; `declared` and `name` are what others say of it."""
    return _receipt(checksum(part.path.open("rb"), derive.HEAD_SIZE), declared, name)


def _what_lies_under(store: Store, path: str, claim: Claim) -> Receipt | None:
    try:
        found = checksum(store.open(path), derive.HEAD_SIZE)
        return _receipt(found, claim.declared_type, path)
    except Missing:  # also what is no file: a link, a pipe, a folder
        return None


def _receipt(found: Checksum, declared: str | None, name: str | None) -> Receipt:
    kind = derive.sniff(found.head, declared, name)
    return Receipt(found.size, found.sha256, kind, found.head)


# --- 3. to 6. download, check, place ---------------------------------------------------------


def _download(store: Store, claim: Claim) -> Receipt:
    part, beginning = _take_part(claim)
    try:
        try:
            fetched = _fetch(claim, part, beginning)
        except fetch.Unreachable as trouble:
            if trouble.partial is not None:
                _keep_part(claim, part, trouble.partial)
            raise
        part.seal()
        failpoint("collect.sealed")
        head = part.head(derive.HEAD_SIZE)
        name = fetched.file_name or naming.file_name(claim.url)
        kind = derive.sniff(head, claim.declared_type, name)
        receipt = Receipt(fetched.size, fetched.sha256, kind, head)
        verdict = _verdict(receipt, claim, fetched.content_type)
        if verdict is not Verdict.FILE:
            _keep_rejected(store, claim, part)
            raise _rejection(kind, verdict)
        if not fetched.length_verified:
            _compare_with_second(claim, receipt)
        _place_original(store, claim, part.path, receipt)
        return receipt
    finally:
        part.discard()


def _take_part(claim: Claim) -> tuple[Part, fetch.Partial | None]:
    """The beginning that an earlier attempt left, or an empty part."""
    if kept := holdings.spool().resume(str(claim.media_id)):
        part, note = kept
        with contextlib.suppress(ValueError):  # a power cut emptied it
            url, partial = json.loads(note)
            if url == _digest(claim.url):
                return part, fetch.Partial(**partial)
        part.discard()
    return holdings.spool().new_part(), None


def _keep_part(claim: Claim, part: Part, partial: fetch.Partial) -> None:
    """Keep what has come for the next attempt: on a slow line a large file takes several."""
    if partial.size >= SMALLEST_KEPT:
        note = json.dumps([_digest(claim.url), asdict(partial)])
        with contextlib.suppress(StorageError):  # then it is downloaded from the start
            holdings.spool().keep(part, str(claim.media_id), note)


def _digest(url: str | None) -> str:
    return hashlib.sha256((url or "").encode()).hexdigest()


def _fetch(claim: Claim, part: Part, beginning: fetch.Partial | None = None) -> fetch.Fetched:
    assert claim.url is not None  # noqa: S101 - the claim asked for it
    return fetch_file(claim.url, claim.role, part, beginning)


def fetch_file(
    url: str,
    role: MediaAttachment.Role,
    part: Part,
    beginning: fetch.Partial | None = None,
) -> fetch.Fetched:
    """Download a file into the part, within the settings' limits. Raises FetchError."""
    current = settings()
    return fetch.fetch(
        url,
        part,
        fetch.Policy(hosts=current.MEDIA_HOSTS, allow_loopback=current.MEDIA_ALLOW_LOOPBACK),
        _limits(current, role),
        resume=beginning,
    )


def _limits(current: Settings, role: MediaAttachment.Role) -> fetch.Limits:
    megabytes = (
        current.MEDIA_MAX_MB
        if role is MediaAttachment.Role.ATTACHMENT
        else current.RECORDING_MAX_MB
    )
    return replace(
        fetch.Limits(),
        max_bytes=megabytes * 1_000_000,
        total=current.TRANSFER_SECONDS,
        longest=current.TRANSFER_SECONDS * LONGEST_TRANSFER,
    )


def _verdict(receipt: Receipt, claim: Claim, served_as: str | None = None) -> Verdict:
    """Whether these bytes are the file, or a server's error page in its place."""
    is_sound = claim.role is not MediaAttachment.Role.ATTACHMENT
    said = error_pages.Said(claim.declared_type, is_sound, served_as, claim.url)
    return error_pages.judge(receipt.head, receipt.kind, said)


def _rejection(kind: derive.Kind, verdict: Verdict) -> NotTheFile:
    what = "a web page" if kind.is_web_page else kind.mime_type
    if verdict is Verdict.DOUBTFUL:
        return Doubtful(f"The phone provider sent {what}, perhaps instead of the file.")
    return NotTheFile(f"The phone provider sent {what} instead of the file.")


def _keep_rejected(store: Store, claim: Claim, part: Part) -> None:
    log.warning("media=%s attempt=%d got an error page", claim.media_id, claim.attempt)
    with contextlib.suppress(Occupied):
        store.place(keys.rejected(claim.media_id), part.path)


def _compare_with_second(claim: Claim, first: Receipt) -> None:
    """Download again and compare. Without Content-Length a truncated file looks whole; two equal
    downloads were not truncated by chance."""
    part = holdings.spool().new_part()
    try:
        again = _fetch(claim, part)
    finally:
        part.discard()
    if again.sha256 != first.sha256:
        raise fetch.Unreachable("Two downloads of the file were not the same.")


def _place_original(store: Store, claim: Claim, part: Path, receipt: Receipt) -> None:
    stem = keys.stem(claim.file_path)
    for number in itertools.chain([""], (f"-{count}" for count in range(2, 100))):
        path = f"{stem}{number}.{receipt.kind.extension}"
        # Said before it is done: whoever comes after a crash knows where to look, and for what.
        if not _intend(claim, path, receipt):
            continue
        failpoint("collect.intended")
        try:
            store.place(path, part)
            return
        except Occupied:
            found = _what_lies_under(store, path, claim)
            if found and found.sha256 == receipt.sha256:
                return
            # A stranger's file. It stays, and ours takes the next name.
    raise Unavailable("Every name for this file is taken.")


def _intend(claim: Claim, path: str, receipt: Receipt) -> bool:
    """Record name and checksum before placing. False if another row has that name."""
    try:
        still_ours = _write(
            claim,
            file_path=path,
            file_stem=keys.stem(path).lower(),
            sha256=receipt.sha256,
            file_size=receipt.size,
            mime_type=receipt.kind.mime_type,
            storage=holdings.own_id(),
        )
    except sa.exc.IntegrityError:
        db.session.rollback()
        return False
    if not still_ours:
        raise LostClaim
    return True


# --- 7. say so -----------------------------------------------------------------------------


def _mark_stored(claim: Claim, receipt: Receipt, storage: uuid.UUID, **more: object) -> bool:
    kind = receipt.kind
    if kind.is_carrier_part:
        more["is_unfiled"] = False  # nobody sent it, so nobody files it
    nothing_to_copy = kind.media_type == MediaAttachment.MediaType.DOCUMENT.value
    copy_state, moment = MediaAttachment.CopyState, now()
    copies: dict[str, object] = {"copy_state": copy_state.DUE, "copy_due_at": moment}
    if nothing_to_copy:
        copies = {"copy_state": copy_state.MADE, "copy_due_at": None}
        if claim.role is not MediaAttachment.Role.ATTACHMENT:
            copies |= {"copy_state": copy_state.IMPOSSIBLE, "copy_problem": NO_SOUND}
    message_id = duplicates.hold_message_of(claim.media_id)
    done = db.session.execute(
        _mine(claim).values(
            state=State.STORED,
            media_type=MediaAttachment.MediaType(kind.media_type),
            storage=storage,
            **holdings.due_from_now(),
            downloaded_at=moment,
            verified_at=moment,  # hashed as it came
            lease_until=None,
            next_attempt_at=None,
            problem=None,
            trouble=None,
            failures=0,
            first_failed_at=None,
            **copies,
            **more,
        )
    )
    if message_id is not None:
        duplicates.hide(message_id)
    db.session.commit()
    return bool(done.rowcount)  # type: ignore[attr-defined]


def _later(claim: Claim, reason: str) -> None:
    """Postpone after a fault of ours, such as a full disk: no failure counted, no backoff."""
    log.warning("media=%s attempt=%d waits: %s", claim.media_id, claim.attempt, reason)
    _write(
        claim,
        state=State.PENDING,
        lease_until=None,
        next_attempt_at=now() + STORAGE_PAUSE,
        problem=reason[:500],
    )


def _failed(
    claim: Claim,
    reason: str,
    trouble: MediaAttachment.Trouble = MediaAttachment.Trouble.UNAVAILABLE,
    *,
    at_once: bool = False,
    retry_after: float | None = None,
) -> None:
    """Retry with backoff because the source failed. After a while, or at once, alert a person."""
    moment = now()
    since = claim.first_failed_at or moment
    log.warning("media=%s attempt=%d failed: %s", claim.media_id, claim.attempt, reason)
    tell = at_once or moment - since >= PATIENCE
    if tell and derive.is_carrier_part(claim.declared_type):
        _forget(claim)
        return
    _write(
        claim,
        state=State.NEEDS_ATTENTION if tell else State.PENDING,
        lease_until=None,
        failures=claim.failures + 1,
        first_failed_at=since,
        next_attempt_at=next_attempt(claim.failures + 1, since, moment, retry_after),
        problem=reason[:500],
        trouble=trouble if tell else None,
    )


def _forget(claim: Claim) -> None:
    """Delete the row of a carrier's part that does not come: nobody sent it, or waits for it.

    The event has its address. A photo announced so by mistake is stored if it comes at all.
    """
    media = MediaAttachment
    db.session.execute(
        sa.delete(media)
        .where(media.id == claim.media_id, media.attempts == claim.attempt)
        .where(media.state == State.DOWNLOADING)
        .execution_options(synchronize_session=False)
    )
    db.session.commit()
    log.info("media=%s was a part of the carrier's, and is forgotten", claim.media_id)


def _freshen(claim: Claim) -> bool:
    """Ask the provider for a fresh URL: a few times at once, then with the row's backoff."""
    try:
        client = rest_client.new_client()
        if client is None:
            return False
        with client:
            return addresses.freshen(claim.media_id, client)
    except rest.RestError as trouble:
        log.warning("media=%s has no fresh address: %s", claim.media_id, trouble.reason)
        return False


def next_attempt(
    failures: int, since: datetime, moment: datetime, retry_after: float | None = None
) -> datetime | None:
    """When to retry (backoff); None after 30 days: then only a person or a fresh URL retries it."""
    if failures <= len(FIRST_PAUSES):
        pause = timedelta(seconds=FIRST_PAUSES[failures - 1])
    else:
        apart = [pause for limit, pause in LATER_PAUSES if moment - since < limit]
        if not apart:
            return None
        pause = apart[0]
    pause *= random.uniform(0.9, 1.0)  # noqa: S311 - spreads a crowd, keeps no secret
    return moment + max(pause, timedelta(seconds=retry_after or 0))
