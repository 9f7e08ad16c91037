"""The audit log: who did what, and when.

An act is sealed into the hash chain (`audit_chain`) in its own transaction, as the last thing
before its commit; what is counted by the hour, once that hour is over.
"""

import uuid
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from flask import g, has_request_context, request

from viewer.extensions import Lock, db, lock, now
from viewer.models import AuditEntry, User
from viewer.office import audit_chain

# Labels of every action: in the audit log, and on its subject's page (empty: the same).
ACTIONS = {
    "login": ("Logged in", ""),
    "login.failed": ("Wrong password", ""),
    "logout": ("Logged out", ""),
    "password.change": ("New password", ""),
    "user.add": ("Added a user", ""),
    "user.role": ("Changed a role", ""),
    "user.invite": ("Made an invitation", ""),
    "user.disable": ("Disabled a user", ""),
    "user.enable": ("Enabled a user", ""),
    "factor.add": ("Added a second factor", ""),
    "factor.remove": ("Removed a second factor", ""),
    "factor.codes": ("Made new recovery codes", ""),
    "factor.recovery": ("Used a recovery code", ""),
    "factor.reset": ("Reset a second factor", "Second factor reset"),
    "confirm": ("Confirmed who they are", ""),
    "token.add": ("Made an API token", ""),
    "token.revoke": ("Revoked an API token", ""),
    "media.retry": ("Tried a file again", "Tried again"),
    "link": ("Linked a file", "Linked"),
    "link.caption": ("Captioned a link", "Caption of a link"),
    "unlink": ("Unlinked a file", "Unlinked"),
    "needed": ("Took a file as needed after all", "Marked as needed after all"),
    "not_needed": ("Marked a file as not needed", "Marked as not needed"),
    "caption": ("Captioned a file", "Caption"),
    "check": ("Checked a file", "Checked"),
    "damage": ("Found a file damaged", "Found damaged"),
    "repair": ("Repaired a file", "Repaired"),
    "complete": ("Got the rest of a file", "The rest of it came"),
    "accept": ("Accepted a file as it is", "Accepted as it is"),
    "refuse": ("Said that it is not the file", "Not the file, said a person"),
    "close": ("Closed a file that did not come", "Closed"),
    "reopen": ("Waits for a closed file again", "Waited for again"),
    "trash": ("Put a file in the trash", "Put in the trash"),
    "restore": ("Took a file out of the trash", "Restored"),
    "purge": ("Deleted a file for good", "Deleted for good"),
    "download": ("Downloaded", ""),
    "api.read": ("Read by a program", ""),
    "access.refused": ("Was refused", ""),
    "quarantine": ("Emptied the quarantine", ""),
    "retention": ("Ended what was kept long enough", ""),
    "customer.export": ("Exported all about a customer", ""),
    "customer.forget": ("Asked to forget a customer", ""),
    "customer.keep": ("Took back to forget a customer", ""),
    "customer.forgotten": ("Forgot a customer", ""),
    "consent": ("Noted a consent to recordings", "Consent to recordings"),
    "record.create": ("Made a record", "Made"),
    "record.edit": ("Changed a record", "Edited"),
    "record.status": ("Changed a status", "Status"),
    "record.archive": ("Archived a record", "Archived"),
    "record.unarchive": ("Took a record out of the archive", "Back from the archive"),
    "export": ("Exported the originals", ""),
    "store.lose": ("Gave up a lost store", ""),
    "share.create": ("Made a share link", ""),
    "share.revoke": ("Took back a share link", ""),
    "share.view": ("Opened a share link", "Opened"),
    "share.download": ("Downloaded from a share link", "Downloaded"),
}
# What can be repeated at will, by a stranger or a script: one entry an hour counts it.
COUNTED = (
    "login.failed", "access.refused", "download", "api.read", "share.view", "share.download"
)  # fmt: skip
MOST_SUBJECTS = 100  # that are named for each action and person in an hour; then only counted

SYSTEM = "system"
NOBODY = "nobody we know"
STRANGER = "whoever has the link"


def describe_action(action: str) -> str:
    """The label in the audit log. An action unknown to this version is returned as it is."""
    return ACTIONS[action][0] if action in ACTIONS else action


def describe_action_here(action: str) -> str:
    """The label on the page of the action's subject."""
    return (ACTIONS[action][1] if action in ACTIONS else "") or describe_action(action)


def note(
    action: str,
    words: str = "",
    *,
    by: User | None = None,
    subject: tuple[str, uuid.UUID] | None = None,
) -> None:
    """Add an entry to the audit log, in the transaction of the action itself. Does not commit.

    `by` defaults to the user of the request; without a request it is the system.
    """
    user: User | None = by or (g.get("user") if has_request_context() else None)
    entry = _new_entry(
        action, user.email if user else SYSTEM, user.id if user else None, subject, words
    )
    db.session.add(entry)
    db.session.info.setdefault(_TO_SEAL, []).append(entry)


_TO_SEAL = "audit entries to seal"


@sa.event.listens_for(db.session, "before_commit")
def _seal(session: Any) -> None:
    if session.in_nested_transaction():
        return  # of a savepoint: the commit is still to come
    if noted := session.info.pop(_TO_SEAL, None):
        session.flush()
        audit_chain.seal([entry for entry in noted if entry in session])  # not what was rolled back


def seal_ended() -> int:
    """Seal the counters of past hours, and what is older than the chain. How many. Commits."""
    return audit_chain.seal_ended(COUNTED)


def count_failed_login(user: User | None, *, must_wait: bool) -> None:
    """Count a failed login: one entry an hour for each user, and one for all unknown names.

    An entry for every guess would let a stranger fill the table. An unknown name is not stored: it
    may be a password, typed into the wrong field. Does not commit.
    """
    entry = _count(
        "login.failed",
        user.email if user else NOBODY,
        None,
        ("user", user.id) if user else None,
        "",
        at=now(),
    )
    entry.times += 1
    entry.address = client_address()
    if must_wait:
        entry.words = "Further tries had to wait."


def count(
    action: str,
    times: int,
    *,
    who: str,
    user_id: uuid.UUID | None,
    subject: tuple[str, uuid.UUID] | None,
    words: str,
    address: str | None,
    at: datetime,
) -> None:
    """Count what was looked at: an entry an hour for each action, person and subject.

    Beyond `MOST_SUBJECTS`, the others are counted in one: a script that takes everything fills no
    table. Does not commit.
    """
    lock(Lock.AUDIT_COUNTS)
    is_new = subject is not None and _counter(action, who, subject, words, at) is None
    if is_new and _count_subjects(action, who, at) >= MOST_SUBJECTS:
        subject, words = None, "Others, which are not named one by one."
    entry = _count(action, who, user_id, subject, words, at=at)
    entry.times += times
    entry.address = address


def _count(
    action: str,
    who: str,
    user_id: uuid.UUID | None,
    subject: tuple[str, uuid.UUID] | None,
    words: str,
    *,
    at: datetime,
) -> AuditEntry:
    """The unsealed entry of this hour, locked; a new one has counted nothing."""
    lock(Lock.AUDIT_COUNTS)
    entry = _counter(action, who, subject, words, at)
    if entry is None:
        entry = _new_entry(action, who, user_id, subject, words)
        entry.at, entry.times = at, 0
        db.session.add(entry)
    return entry


def _counter(
    action: str, who: str, subject: tuple[str, uuid.UUID] | None, words: str, at: datetime
) -> AuditEntry | None:
    query = (
        sa.select(AuditEntry)
        .where(
            AuditEntry.subject_id == (subject[1] if subject else None),
            *_of_this_hour(action, who, at),
        )
        .order_by(AuditEntry.id.desc())
        .limit(1)
        .execution_options(populate_existing=True)
    )
    if action != "login.failed":  # there, the words are added
        query = query.where(AuditEntry.words == words)
    return db.session.scalar(query)


def _count_subjects(action: str, who: str, at: datetime) -> int:
    query = sa.select(sa.func.count()).select_from(AuditEntry)
    named = AuditEntry.subject_id.is_not(None)
    return db.session.scalar(query.where(named, *_of_this_hour(action, who, at))) or 0


def _of_this_hour(action: str, who: str, at: datetime) -> tuple[sa.ColumnElement[bool], ...]:
    return (
        AuditEntry.is_unsealed(),
        AuditEntry.action == action,
        AuditEntry.who == who,
        AuditEntry.at >= at.replace(minute=0, second=0, microsecond=0),
        AuditEntry.at < at.replace(minute=0, second=0, microsecond=0) + audit_chain.HOUR,
    )


def _new_entry(
    action: str,
    who: str,
    user_id: uuid.UUID | None,
    subject: tuple[str, uuid.UUID] | None,
    words: str,
) -> AuditEntry:
    kind, identity = subject or (None, None)
    return AuditEntry(
        user_id=user_id,
        who=who,
        action=action,
        subject_type=kind,
        subject_id=identity,
        words=words.replace("\0", "")[:500],  # PostgreSQL text cannot hold NUL
        address=client_address(),
    )


def client_address() -> str | None:
    return (request.remote_addr or "")[:60] or None if has_request_context() else None
