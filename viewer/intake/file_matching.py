"""Match files across deliveries, to deduplicate them.

One file is announced several times, under several URLs and in several formats.

A photo mistaken for another is a photo lost; one not recognised is merely there twice. So what
several files of one delivery have in common identifies none of them, except by its position.
"""

import functools
import hashlib
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlencode, urlunsplit

from viewer import quo
from viewer.intake import naming
from viewer.models import MediaAttachment

# Parts of an address that mostly say who may read it and until when: two signed addresses of one
# file differ in nothing else.
_SIGNING = ("x-amz-", "x-goog-", "expires", "signature", "policy", "key-pair-id", "googleaccessid",
            "awsaccesskeyid", "sig", "se", "sp", "sv", "sr", "st", "token", "hmac")  # fmt: skip
# With one of these it is sure: such a store names a file by its path alone.
_STORES = ("x-amz-", "x-goog-", "key-pair-id", "googleaccessid", "awsaccesskeyid")


@dataclass(frozen=True, slots=True)
class Marks:
    """What identifies a file across deliveries."""

    exact: frozenset[str]  # its address, the provider's id of it
    # What may be another's, too: its address without the signature, or its place among those of
    # the same telling that have this in common, as `<what>#<place>/<how many>`.
    loose: frozenset[str]


def marks(items: Sequence[quo.MediaSeen]) -> list[Marks]:
    """The marks of each file of one delivery."""
    addresses = [_address(item.url) if item.url else None for item in items]
    loose = [_digest(item.role, _path(item.url)) if item.url else None for item in items]
    ids = [
        _digest(item.role, f"id:{item.provider_id}") if item.provider_id or not item.url else None
        for item in items
    ]
    found = []
    for place, item in enumerate(items):
        exact, vague = set(), set()
        if (address := addresses[place]) is not None:
            exact.add(_digest(item.role, address))
        if (path := loose[place]) is not None:
            vague.add(_told_apart(path, place, loose, addresses))
        if (named := ids[place]) is not None:
            if item.provider_id is None:  # announced, and nothing tells it from the next
                count = sum(1 for other in ids[:place] if other == named)
                exact.add(f"{named}#{count}" if count else named)
            else:
                told = _told_apart(named, place, ids, addresses)
                (exact if told == named else vague).add(told)
        found.append(Marks(frozenset(exact), frozenset(vague - exact)))
    return found


def _told_apart(
    mark: str, place: int, all_marks: list[str | None], addresses: list[str | None]
) -> str:
    """The mark, with a position where several files share it."""
    sharing = dict.fromkeys(
        address for other, address in zip(all_marks, addresses, strict=True)
        if other == mark and address is not None
    )  # fmt: skip
    if len(sharing) < 2:
        return mark
    address = addresses[place]
    return f"{mark}#{list(sharing).index(address) if address else 0}/{len(sharing)}"


def alike(
    rows: Sequence[MediaAttachment],
    item: quo.MediaSeen,
    marks: Marks,
    others: Sequence[MediaAttachment] = (),
) -> list[MediaAttachment]:
    """The rows that match this file. `others` are other files of the same delivery."""
    exact = [row for row in rows if is_exactly(row, marks)]
    loose = [
        row
        for row in rows
        if row not in exact
        and row not in others
        and not marks.loose.isdisjoint(_known(row))
        and (not item.provider_id or row.provider_id in (None, item.provider_id))
    ]
    if exact:  # and what had its place in another telling, with a fresh signature
        places = {mark for mark in marks.loose if "#" in mark}
        moved = [row for row in loose if row.attempts == 0 and places & _known(row)]
        return [row for row in exact + moved if not _are_apart(row, exact[0])]
    return loose if len(loose) == 1 else []


def is_exactly(row: MediaAttachment, marks: Marks) -> bool:
    return not marks.exact.isdisjoint(_known(row))


def remember(row: MediaAttachment, marks: Marks, rows: Sequence[MediaAttachment]) -> None:
    """Remember these marks on the row, but no position that belongs to another row."""
    row.add("keys", *_own(row, marks, rows))


def is_remembered(row: MediaAttachment, marks: Marks, rows: Sequence[MediaAttachment]) -> bool:
    """Whether `remember` would change nothing."""
    return _own(row, marks, rows) <= set(row.members("keys"))


def _own(row: MediaAttachment, marks: Marks, rows: Sequence[MediaAttachment]) -> set[str]:
    places = {mark for mark in marks.loose if "#" in mark}
    if places:
        places -= {key for other in rows if other is not row for key in other.members("keys")}
    return {*marks.exact, *places, *(key for key in marks.loose if "#" not in key)}


def address_count(items: Sequence[quo.MediaSeen]) -> Counter[str]:
    """How many files of each role have a URL of their own."""
    return Counter(role for role, _ in {(i.role.value, _address(i.url)) for i in items if i.url})


def set_source_keys(rows: Sequence[MediaAttachment]) -> None:
    """Set keys that are unique within a message and independent of the order of arrival."""
    wanted = {id(row): _own_marks(row) for row in rows if row.attempts == 0}
    common = Counter(marks[0] for marks in wanted.values())
    taken = {row.source_key for row in rows if row.attempts}
    for row in rows:
        if row.attempts == 0:
            first, *more = wanted[id(row)]
            free = [mark for mark in more if mark not in taken]
            is_own = common[first] == 1 and first not in taken
            row.source_key = first if is_own else next(iter(free), uuid.uuid4().hex)
            taken.add(row.source_key)


def _own_marks(row: MediaAttachment) -> list[str]:
    url = row.openphone_url
    named = f"id:{row.provider_id}"
    told = [_path(url), _address(url)] if url else [named, *row.members("keys")]
    return [_digest(row.role, one) for one in told]


def _known(row: MediaAttachment) -> set[str]:
    """Every mark this row ever had."""
    known = {row.source_key, *row.members("keys")}
    if row.openphone_url:  # rows from before kept no addresses
        known.add(_digest(row.role, _address(row.openphone_url)))
    return known


def _are_apart(one: MediaAttachment, other: MediaAttachment) -> bool:
    """Whether one delivery announced both, as two files."""
    mine, theirs = _places(one), _places(other)
    return any(mine[group] != theirs[group] for group in mine.keys() & theirs.keys())


def _places(row: MediaAttachment) -> dict[tuple[str, str], str]:
    split = [key.replace("/", "#").split("#") for key in row.members("keys") if "/" in key]
    return {(mark, count): place for mark, place, count in split}


@functools.lru_cache(maxsize=1024)
def _digest(role: str, told: str) -> str:
    return hashlib.sha256(f"{role} {told}".encode()).hexdigest()


@functools.lru_cache(maxsize=1024)
def _address(url: str) -> str:
    """The URL without the parameters that are certainly a signature."""
    parts = naming.split(url)
    names = [name for name, _ in parse_qsl(parts.query)] if parts else []
    return _path(url) if any(_is_one_of(_STORES, name) for name in names) else _without((), url)


def _path(url: str) -> str:
    """The URL without its query, which mostly holds credentials and expiry."""
    return _without(_SIGNING, url)


def _without(left_out: tuple[str, ...], url: str) -> str:
    parts = naming.split(url)
    if parts is None:
        return url
    query = [
        (name, value)
        for name, value in parse_qsl(parts.query, keep_blank_values=True)
        if not _is_one_of(left_out, name)
    ]
    return urlunsplit(
        (parts.scheme.lower(), parts.netloc.lower(), parts.path, urlencode(query), "")
    )


def _is_one_of(marks: tuple[str, ...], name: str) -> bool:
    return any(
        name.lower() == mark or (mark.endswith("-") and name.lower().startswith(mark))
        for mark in marks
    )
