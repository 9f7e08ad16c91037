"""Maintain the search index: the words of each message, the people of each conversation.

Called wherever such words change: by ingest, and by whoever edits a caption. Older rows, or rows
folded by an earlier VERSION, are indexed by `fill_index` in small batches, on any host. Only
`fill_index` commits.
"""

import time
import uuid
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

import sqlalchemy as sa

from viewer import quo, transactions
from viewer.extensions import Lock, db, lock, run_upsert
from viewer.models import (
    Checkpoint,
    Contact,
    ContactNumber,
    Conversation,
    MediaAttachment,
    Message,
    SearchEntry,
    Term,
)
from viewer.search.tokens import digits_of, endings_of, folded

VERSION = "1"  # of how entries are made: another one, and everything is read anew
MARK = "search"
EVERY = 60.0  # seconds until somebody looks whether anything is left to be read
AT_ONCE = 20  # rows: a webhook waits for SQLite no longer than these take to be written
PAUSE = 0.005  # seconds in which others may write

_Change = tuple[SearchEntry, bool]  # an entry to be written, and whether it is new
_UNSEEN = {"synchronize_session": False}  # no entry is ever an object of the session


def index_messages(messages: Collection[Message]) -> None:
    """Index the words of these messages."""
    db.session.flush()
    _write(_changed_messages(messages))


def index_conversations(conversations: Collection[Conversation]) -> None:
    """Index the participants of these conversations by name, company and number."""
    db.session.flush()
    _write(_changed_people(conversations))


def message_entry(message: Message, media: Iterable[MediaAttachment]) -> SearchEntry:
    """The words of this message and of the captions of its files, which are all given."""
    captions = [
        row.caption
        for row in sorted(media, key=lambda row: row.position)
        if row.caption is not None and row.state is not MediaAttachment.State.TRASHED
    ]
    return SearchEntry.of_message(message, _words_of(message, captions))


def people_entry(conversation: Conversation) -> SearchEntry:
    """The participants of this conversation by name, company and number."""
    words = _words_for_people(conversation.numbers, _names_called(conversation.numbers))
    return SearchEntry.of_people(conversation, " ".join(words))


def write_entry(entry: SearchEntry, *, is_new: bool) -> None:
    """Insert this entry, or replace the one there is of the same message or conversation."""
    if not is_new:
        subject = (
            SearchEntry.conversation_id == entry.conversation_id
            if entry.message_id is None
            else SearchEntry.message_id == entry.message_id
        )
        db.session.execute(sa.delete(SearchEntry).where(subject), execution_options=_UNSEEN)
    if entry.words:
        _insert(entry)


def index_people(numbers: Iterable[str]) -> None:
    """Reindex the conversations of these numbers: their names have changed."""
    found: set[int] = set()
    for digits in {digits_of(number) for number in numbers if quo.is_number(number)}:
        found |= set(
            SearchEntry.matching(
                [Term((digits,))], first=SearchEntry.PEOPLE, below=1 << 62, limit=10_000
            )
        )
    if found:
        entries = sa.select(SearchEntry.conversation_id).where(SearchEntry.id.in_(found))
        index_conversations(
            db.session.scalars(sa.select(Conversation).where(Conversation.id.in_(entries))).all()
        )


def spoken_parts(message: Message) -> list[tuple[str, str]]:
    """Everything that was said in a message: what kind of words, and the words."""
    lines = [line.get("text") for line in message.transcript or () if isinstance(line, dict)]
    parts = (
        ("", [message.body]),
        ("Voicemail", [message.voicemail_transcript]),
        ("Summary", [*(message.summary or ()), *(message.next_steps or ())]),
        ("Transcript", lines),
    )
    told = ((kind, " ".join(str(part) for part in said if part)) for kind, said in parts)
    return [(kind, words) for kind, words in told if words]


def is_complete() -> bool:
    """Whether everything was read that was there before."""
    return Checkpoint.read(MARK) == VERSION


def start_over() -> None:
    """Read everything anew. What can be found goes on being found."""
    Checkpoint.forget(MARK)


def fill_index(told: Callable[[int], None] = lambda rows: None) -> int:
    """Read what nobody has read yet; how many rows. Commits after every few of them.

    Interrupted, it goes on where it was; what arrives meanwhile is indexed by ingest.
    """
    read = 0
    while not is_complete():
        db.session.rollback()
        rows = transactions.run(lambda _alone: _plan_next())
        read += rows
        told(rows)
        time.sleep(PAUSE)
    db.session.rollback()
    return read


def _plan_next() -> Callable[[], int]:
    """Decide what becomes of the next rows, and how far that goes: "1 messages 7f3c…"."""
    lock(Lock.INGEST, shared=True)
    lock(Lock.SEARCH_INDEX)
    version, kind, last = [*(Checkpoint.read(MARK) or "").split(), "", "", ""][:3]
    if version != VERSION:
        kind, last = "people", ""
    after = uuid.UUID(last) if last else uuid.UUID(int=0)
    rows: Sequence[Conversation | Message]
    if kind == "people":
        rows = conversations = db.session.scalars(
            _after(Conversation, after).with_for_update(key_share=True)
        ).all()
        changed = _changed_people(conversations)
    else:
        ids = db.session.scalars(_after(Message, after).with_only_columns(Message.provider_id))
        Message.hold(*ids)
        rows = messages = db.session.scalars(_after(Message, after)).all()
        changed = _changed_messages(messages)
    if rows:
        mark = f"{VERSION} {kind} {rows[-1].id}"
    else:
        mark = f"{VERSION} messages" if kind == "people" else VERSION

    def write() -> int:
        _write(changed)
        Checkpoint.write(MARK, mark)
        return len(rows)

    return write


def _after(model: Any, last: uuid.UUID) -> sa.Select[Any]:
    return (
        sa.select(model)
        .where(model.id > last)
        .order_by(model.id)
        .limit(AT_ONCE)
        .execution_options(populate_existing=True)
    )


def _words_of(message: Message, captions: list[str]) -> str:
    return folded("\n".join([*(words for _, words in spoken_parts(message)), *captions]))


def _captions_of(ids: Collection[uuid.UUID]) -> dict[uuid.UUID, list[str]]:
    media = MediaAttachment
    found: dict[uuid.UUID, list[str]] = {}
    for message_id, caption in db.session.execute(
        sa.select(media.message_id, media.caption)
        .where(media.message_id.in_(ids), media.caption.is_not(None))
        .where(media.state != media.State.TRASHED)
        .order_by(media.position)
    ):
        found.setdefault(message_id, []).append(caption or "")
    return found


def _names_called(numbers: Collection[str]) -> dict[str, list[str]]:
    """What these numbers' people are called: names and companies."""
    found: dict[str, list[str]] = {}
    for number, contact in db.session.execute(
        sa.select(ContactNumber.number, Contact)
        .join(Contact)
        .where(ContactNumber.number.in_(numbers), Contact.deleted.is_(False))
        .order_by(Contact.first_name, Contact.id)
    ):
        names = (contact.first_name, contact.last_name, contact.company)
        found.setdefault(number, []).append(folded(" ".join(filter(None, names))))
    return found


def _words_for_people(numbers: Iterable[str], called: dict[str, list[str]]) -> Iterable[str]:
    for number in numbers:
        yield from called.get(number, ())
        yield folded(quo.display(number))
        if quo.is_number(number):
            yield number.removeprefix("+")
            yield from endings_of(digits_of(number))


def _changed_messages(messages: Collection[Message]) -> list[_Change]:
    captions = _captions_of([message.id for message in messages])
    return _changed(
        SearchEntry.message_id,
        {
            message.id: SearchEntry.of_message(
                message, _words_of(message, captions.get(message.id, []))
            )
            for message in messages
        },
    )


def _changed_people(conversations: Collection[Conversation]) -> list[_Change]:
    called = _names_called({number for row in conversations for number in row.numbers})
    return _changed(
        SearchEntry.conversation_id,
        {
            row.id: SearchEntry.of_people(row, " ".join(_words_for_people(row.numbers, called)))
            for row in conversations
        },
    )


def _changed(subject: Any, wanted: dict[uuid.UUID, SearchEntry]) -> list[_Change]:
    """The entries that are new, and those whose words or time are others now."""
    known = {
        entry[0]: entry
        for entry in db.session.execute(
            sa.select(subject, SearchEntry.id, SearchEntry.words).where(subject.in_(wanted))
        )
    }
    return [
        (entry, row_id not in known)
        for row_id, entry in wanted.items()
        if row_id not in known or not _is_same(entry, known[row_id])
    ]


def _write(changed: Iterable[_Change]) -> None:
    for entry, is_new in changed:
        write_entry(entry, is_new=is_new)


def _is_same(entry: SearchEntry, known: Any) -> bool:
    """Whether the entry that there is will do: two of one moment may have had to make room."""
    return bool(entry.words == known.words and 0 <= known.id - entry.id < 1000)


def _insert(entry: SearchEntry) -> None:
    """Insert with an id that nobody has: its own, or the next that is free."""
    names = ("message_id", "conversation_id", "at", "words")
    values = {name: getattr(entry, name) for name in names}
    while not run_upsert(_insertion, id=entry.id, **values):
        entry.id += 1


def _insertion(insert: Any) -> sa.Insert:
    made: sa.Insert = insert(SearchEntry.__table__).on_conflict_do_nothing(index_elements=["id"])
    return made
