"""Erase the rows of a customer, a few in each transaction.

A message goes with everything that hangs on it, in one transaction: whoever reads sees all of it or
nothing. The bytes of its files follow by `Erasure`, which is written in the same transaction.
Invoices stay, as the law asks for them: number, amount, state and days, without a customer.
"""

import re
import secrets
import uuid
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import sqlalchemy as sa

from viewer import quo
from viewer.extensions import Lock, db, lock, now, one_query
from viewer.failpoint import failpoint
from viewer.models import (
    AuditEntry,
    Checkpoint,
    ContactNumber,
    Conversation,
    ConversationAlias,
    Erasure,
    Evidence,
    EvidenceItem,
    Forgetting,
    ForgottenId,
    ForgottenNumber,
    MediaAttachment,
    MediaLink,
    Message,
    RegisteredStore,
    ScheduledTask,
    SearchEntry,
    Share,
    ShareItem,
    Term,
    Unread,
    UpkeepRun,
    WebhookEvent,
    WorkRecord,
)
from viewer.models.forgetting import digest_of, make_forgetting_key
from viewer.office import records
from viewer.office.forgetting.held import Held, held_of
from viewer.plurals import counted
from viewer.search import indexing, tokens

AT_ONCE = 50  # messages of one transaction: ingest waits for it

State = Forgetting.State
_UNSEEN = {"synchronize_session": False}


def erase(forgetting_id: uuid.UUID) -> bool:
    """Erase every row about this customer, or go on with it. Whether that is done. Commits."""
    if not _begin(forgetting_id):
        return False
    with one_query() as connection:
        number = connection.scalar(sa.select(Forgetting.number).filter_by(id=forgetting_id))
    if number is None:
        return False
    held = held_of(number)
    names = held.names
    db.session.rollback()
    for step in (_messages, _group_messages, _groups, _conversations):
        while _run(forgetting_id, partial(step, held=held)):
            failpoint(f"forget.{step.__name__.strip('_')}")
    _deliveries_without_message(forgetting_id, number)
    failpoint("forget.deliveries")
    # The names are in the contacts, so these go last.
    _run(forgetting_id, lambda found: _traces(found, number, names))
    failpoint("forget.traces")
    _run(forgetting_id, lambda found: _contacts(found, number))
    failpoint("forget.contacts")
    return bool(_run(forgetting_id, _finish))


def _begin(forgetting_id: uuid.UUID) -> bool:
    """From now on ingest takes nothing of before. Whether this may go on."""
    lock(Lock.INGEST)
    # Locked: it may be revoked at this moment.
    found = db.session.get(Forgetting, forgetting_id, populate_existing=True, with_for_update=True)
    if found is None or found.number is None or found.state not in (State.WAITING, State.ERASING):
        db.session.rollback()
        return False
    if found.state is State.WAITING:
        found.state, found.begun_at = State.ERASING, now()
        digest = digest_of(make_forgetting_key(), "number", found.number)
        known = db.session.get(ForgottenNumber, digest)
        if known is None:
            db.session.add(
                ForgottenNumber(
                    digest=digest,
                    pseudonym=quo.forgotten(secrets.token_hex(4)),
                    before=found.begun_at,
                    forgetting_id=found.id,
                )
            )
        else:  # they came back, and are forgotten again
            known.before, known.forgetting_id = found.begun_at, found.id
    db.session.commit()
    failpoint("forget.begun")
    return True


def _run(forgetting_id: uuid.UUID, work: Callable[[Forgetting], int]) -> int:
    """One transaction, with nobody else at what ingest writes. How much was done. Commits."""
    lock(Lock.INGEST)
    found = db.session.get_one(
        Forgetting, forgetting_id, populate_existing=True, with_for_update=True
    )
    done = work(found) if found.state is State.ERASING else 0
    db.session.commit()
    db.session.expire_all()  # most changes are statements, of which objects know nothing
    return done


# --- Messages --------------------------------------------------------------------------------


def _messages(found: Forgetting, held: Held) -> int:
    """Erase some of their messages, with files, deliveries and all that refers to them."""
    rows = db.session.execute(
        sa.select(Message.id, Message.provider_id, Message.kind)
        .where(held.messages(found.begun_at))
        .order_by(Message.id)
        .limit(AT_ONCE)
    ).all()
    if not rows:
        return 0
    ids, told_of = [row.id for row in rows], [row.provider_id for row in rows]
    media = db.session.execute(
        sa.select(
            MediaAttachment.id, MediaAttachment.file_path, MediaAttachment.superseded_path
        ).where(MediaAttachment.message_id.in_(ids))
    ).all()
    _forget_media(found, media)
    _forget_audit([*ids, *(row.id for row in media)])
    _keep_out(found, "message", told_of)
    _delete(SearchEntry, SearchEntry.message_id.in_(ids))
    deliveries = _delete(WebhookEvent, WebhookEvent.tells_of.in_(told_of))
    for provider_id in told_of:  # what the catch-up still asks about it
        asked = Checkpoint.value.contains(f'"{provider_id}"', autoescape=True)
        _delete(Checkpoint, Checkpoint.name.startswith("unanswered "), asked)
    _delete(Message, Message.id.in_(ids))
    calls = sum(row.kind is Message.Kind.CALL for row in rows)
    found.count(texts=len(rows) - calls, calls=calls, files=len(media), deliveries=deliveries)
    return len(rows)


def _forget_media(found: Forgetting, media: Sequence[sa.Row[*tuple[Any, ...]]]) -> None:
    ids = [row.id for row in media]
    if not ids:
        return
    stores = db.session.scalars(sa.select(RegisteredStore.id).filter_by(retired_at=None)).all()
    db.session.add_all(
        Erasure(
            forgetting_id=found.id, storage=store, media_id=row.id,
            file_path=row.file_path, superseded_path=row.superseded_path,
        )
        for row in media
        for store in stores
    )  # fmt: skip
    found.count(evidence=_delete(EvidenceItem, EvidenceItem.media_id.in_(ids)))
    found.count(shared=_delete(ShareItem, ShareItem.media_id.in_(ids)))
    found.count(links=_delete(MediaLink, MediaLink.media_id.in_(ids)))
    _update(WorkRecord, WorkRecord.cover_id.in_(ids), cover_id=None)
    _delete(MediaAttachment, MediaAttachment.id.in_(ids))


def _keep_out(found: Forgetting, kind: str, provider_ids: Iterable[str]) -> None:
    key = make_forgetting_key()
    wanted = {digest_of(key, kind, one) for one in provider_ids}
    known = set(
        db.session.scalars(sa.select(ForgottenId.digest).where(ForgottenId.digest.in_(wanted)))
    )
    db.session.add_all(
        ForgottenId(digest=digest, forgetting_id=found.id) for digest in sorted(wanted - known)
    )


# --- Conversations of others -----------------------------------------------------------------


def _group_messages(found: Forgetting, held: Held) -> int:
    """In some messages of others, put a pseudonym in the place of the number."""
    known = sa.cast(Message.said, sa.Text).contains(held.number, autoescape=True)
    spoken = sa.cast(Message.transcript, sa.Text).contains(held.number, autoescape=True)
    rows = db.session.scalars(
        sa.select(Message)
        .where(
            Message.conversation_id.in_(held.groups),
            (Message.sent_at < found.begun_at) | (Message.created_at < found.begun_at),
            known | sa.func.coalesce(spoken, sa.false()),
        )
        .order_by(Message.id)
        .limit(AT_ONCE)
    ).all()
    pseudonym = _pseudonym(found)
    for row in rows:
        numbers = {pseudonym if one == held.number else one for one in row.numbers}
        row.said = {**row.said, "numbers": sorted(numbers)}
        if row.transcript:
            row.transcript = [
                {**line, "number": pseudonym} if _speaks(line, held.number) else line
                for line in row.transcript
            ]
    for event in db.session.scalars(
        sa.select(WebhookEvent).where(
            WebhookEvent.tells_of.in_([row.provider_id for row in rows]),
            WebhookEvent.state == WebhookEvent.State.PROCESSED,
            WebhookEvent.erased_at.is_(None),
        )
    ):
        event.erase_body()
        found.count(deliveries_emptied=1)
    found.count(group_messages_kept=len(rows))
    db.session.flush()
    return len(rows)


def _speaks(line: Any, number: str) -> bool:
    return isinstance(line, dict) and line.get("number") == number


def _groups(found: Forgetting, held: Held) -> int:
    """Put the pseudonym among the people of a conversation, unless they wrote there since."""
    is_back = sa.cast(Message.said, sa.Text).contains(held.number, autoescape=True)
    pseudonym, done = _pseudonym(found), 0
    for home in db.session.scalars(
        sa.select(Conversation).where(
            Conversation.id.in_(held.groups),
            Conversation.participants.contains(held.number, autoescape=True),
            ~sa.exists().where(Message.conversation_id == Conversation.id, is_back),
        )
    ).all():
        people = {pseudonym if one == held.number else one for one in home.numbers}
        home.participants = ",".join(sorted(people))
        indexing.index_conversations([home])
        done += 1
    return done


def _pseudonym(found: Forgetting) -> str:
    return db.session.scalars(
        sa.select(ForgottenNumber.pseudonym).filter_by(forgetting_id=found.id)
    ).one()


# --- Their own conversations -----------------------------------------------------------------


def _conversations(found: Forgetting, held: Held) -> int:
    """Erase one conversation that has no message any more, with its work but for the invoices."""
    home = db.session.scalar(
        sa.select(Conversation)
        .where(
            Conversation.id.in_(held.own),
            Conversation.participants != _pseudonym(found),
            ~sa.exists().where(Message.conversation_id == Conversation.id),
        )
        .limit(1)
    )
    if home is None:
        return 0
    work = db.session.scalars(sa.select(WorkRecord).filter_by(conversation_id=home.id)).all()
    kept = [one for one in work if one.kind is WorkRecord.Kind.INVOICE]
    for record in work:
        _forget_work(found, record, is_kept=record in kept)
    _forget_audit([home.id, *(one.id for one in work)])
    _delete(Unread, Unread.conversation_id == home.id)
    _delete(SearchEntry, SearchEntry.conversation_id == home.id)
    _delete(ConversationAlias, ConversationAlias.conversation_id == home.id)
    if kept:
        home.participants, home.line = _pseudonym(found), None
        indexing.index_conversations([home])
        for record in kept:
            records.index_record(record)
    else:
        _delete(Conversation, Conversation.id == home.id)
    found.count(conversations=1, invoices_kept=len(kept), records=len(work) - len(kept))
    db.session.flush()
    return 1


def _forget_work(found: Forgetting, record: WorkRecord, *, is_kept: bool) -> None:
    taken = sa.select(Evidence.id).filter_by(record_id=record.id)
    _delete(EvidenceItem, EvidenceItem.evidence_id.in_(taken))
    _delete(Evidence, Evidence.record_id == record.id)
    shares = db.session.scalars(sa.select(Share.id).filter_by(record_id=record.id)).all()
    _forget_shares(found, shares)
    for link in list(record.links):  # one by one: files of others say that they are linked no more
        db.session.delete(link)
    db.session.flush()
    if is_kept:
        record.title = record.notes = ""
        record.cover_id = record.place = record.visit = record.external_url = None
        return
    db.session.expire(record, ["links"])
    db.session.delete(record)
    db.session.flush()


def _forget_shares(found: Forgetting, ids: Sequence[uuid.UUID]) -> None:
    _forget_audit(ids)
    _delete(ShareItem, ShareItem.share_id.in_(ids))
    found.count(shares=_delete(Share, Share.id.in_(ids)))


# --- Traces in what others have ----------------------------------------------------------------


def _traces(found: Forgetting, number: str, names: list[str]) -> int:
    """Erase the words of the audit log, of runs and of shares that name them."""
    empty = db.session.scalars(
        sa.select(Share.id).where(~sa.exists().where(ShareItem.share_id == Share.id))
    ).all()
    _forget_shares(found, empty)
    if mentions := _mentions(number):
        found.counts = {**found.counts, "mentions_kept": mentions}
    is_named = _naming(number, names)
    end = re.sub(r"\D", "", number)[-4:] or number
    perhaps = [end, quo.folder_name(number), *names]
    for share in db.session.scalars(sa.select(Share).where(_has_any(Share.title, perhaps))):
        if is_named(share.title):
            share.title = "Photos"
    entries = db.session.execute(
        sa.select(AuditEntry.id, AuditEntry.words).where(_has_any(AuditEntry.words, perhaps))
    ).all()
    named = [row.id for row in entries if is_named(row.words)]
    found.count(audit_entries=len(named))
    _forget_words(AuditEntry.id.in_(named))
    for run in db.session.scalars(sa.select(UpkeepRun)):
        run.words = run.words and _without_keys(run.words, number)
        run.counts = _mapped(run.counts, lambda text: _without_keys(text, number))
    for task in db.session.scalars(sa.select(ScheduledTask)):
        task.said = task.said and _without_keys(task.said, number)
        task.problem = task.problem and _without_keys(task.problem, number)
    return 1


def _mentions(number: str) -> int:
    """How many texts of others have the number in them, up to a thousand: these are theirs."""
    word = Term((tokens.digits_of(number),))
    return len(SearchEntry.matching([word], first=0, below=SearchEntry.PEOPLE, limit=1000))


def _deliveries_without_message(forgetting_id: uuid.UUID, number: str) -> None:
    """Erase those that made no message, such as of a phone that rang. Commits.

    What nobody understood may hold a photo of somebody else: that stays, and is said.
    """
    digits = re.sub(r"\D", "", number)[-10:].encode() if quo.is_number(number) else number.encode()
    if db.engine.dialect.name == "sqlite":
        is_named = sa.func.instr(WebhookEvent.body, digits) > 0
    else:
        is_named = sa.func.position(sa.literal(digits).op("IN")(WebhookEvent.body)) > 0
    event, states = WebhookEvent, WebhookEvent.State
    with one_query() as connection:  # a long look, for which nobody should wait
        named = connection.execute(
            sa.select(event.id, event.state).where(
                event.tells_of.is_(None) | (event.state == states.UNPARSED), is_named
            )
        ).all()
    done = [row.id for row in named if row.state is states.PROCESSED]
    left = sum(row.state is states.UNPARSED for row in named)
    words = (
        f"{counted(left, 'delivery')} that nobody understood with the number in it: it may be of"
        " somebody else, and stays. viewer reprocess reads it again."
    )
    for start in range(0, max(len(done), 1), AT_ONCE):
        _run(
            forgetting_id,
            partial(
                _delete_deliveries, ids=done[start : start + AT_ONCE], words=words if left else ""
            ),
        )


def _delete_deliveries(found: Forgetting, ids: list[uuid.UUID], words: str) -> int:
    count = _delete(WebhookEvent, WebhookEvent.id.in_(ids))
    found.count(deliveries=count)
    if words:
        found.remark(words)
    return count


def _contacts(found: Forgetting, number: str) -> int:
    """Take the number out of the address book, and whoever has no other one."""
    for contact in held_of(number).contacts:
        deliveries = WebhookEvent.tells_of == contact.provider_id
        if {row.number for row in contact.numbers} == {number}:
            _keep_out(found, "contact", [contact.provider_id])
            found.count(contacts=1, deliveries=_delete(WebhookEvent, deliveries))
            db.session.delete(contact)
            continue
        contact.known_numbers = [one for one in contact.known_numbers if one != number]
        _delete(
            ContactNumber, ContactNumber.contact_id == contact.id, ContactNumber.number == number
        )
        for event in db.session.scalars(
            sa.select(WebhookEvent).where(deliveries, WebhookEvent.erased_at.is_(None))
        ):
            event.erase_body()
        found.count(contacts_kept=1)
        found.remark("A contact with further numbers stays, without this one.")
    db.session.flush()
    return 1


def _finish(found: Forgetting) -> int:
    found.state, found.erased_at = State.CLEARING, now()
    return 1


# --- Tools -------------------------------------------------------------------------------------


def _delete(model: Any, *conditions: sa.ColumnElement[bool]) -> int:
    done = db.session.execute(sa.delete(model).where(*conditions), execution_options=_UNSEEN)
    return int(done.rowcount)  # type: ignore[attr-defined]


def _update(model: Any, condition: sa.ColumnElement[bool], **values: Any) -> None:
    db.session.execute(
        sa.update(model).where(condition).values(**values), execution_options=_UNSEEN
    )


def _forget_audit(subjects: Iterable[uuid.UUID]) -> None:
    _forget_words(AuditEntry.subject_id.in_(list(subjects)))


def _forget_words(condition: sa.ColumnElement[bool]) -> None:
    """That something was done stays, and who of us did it; what was said of it goes.

    With the salt, so that its digest says nothing any more: the chain stays whole. The address of
    whoever opened a link goes, too: nobody of us.
    """
    entry = AuditEntry
    is_stranger = entry.user_id.is_(None) & entry.address.is_not(None)
    _update(
        entry,
        condition & ((entry.words != "") | is_stranger),
        words="",
        salt=None,
        address=sa.case((entry.user_id.is_(None), None), else_=entry.address),
    )


def _has_any(column: Any, needles: Iterable[str]) -> sa.ColumnElement[bool]:
    return sa.or_(*(column.icontains(needle, autoescape=True) for needle in needles))


def _naming(number: str, names: list[str]) -> Callable[[str], bool]:
    """Whether a text has the number, however it is written, or a whole name."""
    if quo.is_number(number):
        digits = re.sub(r"\D", "", number)[-10:]
        written = re.compile(r"\D{0,3}".join(digits))
    else:
        written = re.compile(re.escape(number))
    whole = [
        re.compile(rf"(?<!\w){re.escape(name)}(?!\w)", re.IGNORECASE) for name in names if name
    ]
    return lambda text: any(one.search(text) for one in (written, *whole))


def _without_keys(text: str, number: str) -> str:
    """The text without the keys of this customer's files."""
    folder = re.escape(quo.folder_name(number))
    return re.sub(rf"\d{{4}}/\d\d/\d\d/{folder}/\S*?(?=[\s,;:]|\.?\s|\.?$)", "a file", text)


def _mapped(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list):
        return [_mapped(one, change) for one in value]
    if isinstance(value, dict):
        return {change(str(key)): _mapped(one, change) for key, one in value.items()}
    return value
