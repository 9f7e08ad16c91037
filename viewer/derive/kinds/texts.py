"""Tell texts apart: contact cards, tables, mail, mark-up, JSON, in whatever encoding.

Old encodings too: a table from an office of 1999 is still a table.
"""

import codecs
import json
import re
from collections.abc import Iterator

from viewer.derive.kinds.documents import Hints

_NOT_TEXT = re.compile("[\x00-\x08\x0e-\x1a\x1c-\x1f]")
_NOT_OLD_TEXT = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")
_READABLE = re.compile(rb"[\t\r\n\x20-\x7e]")
_TABLES = frozenset({"text/csv", "text/tab-separated-values"})
_HALF_A_HEAD = 32 * 1024  # bytes
_AS_NAMED = _TABLES | {"text/markdown"}  # texts without a mark of their own
_BEGINNINGS = (
    ("begin:vcard", "text/vcard"),
    ("begin:vcalendar", "text/calendar"),
    ("begin:imelody", "text/x-imelody"),
)
_MAIL_LINE = re.compile(r"([a-z][a-z0-9-]{1,40}):[ \t]")
_MAIL = frozenset({"received", "return-path", "delivered-to", "from", "to", "subject", "date",
                   "message-id", "mime-version", "content-type"})  # fmt: skip


def recognise(head: bytes, hints: Hints) -> str | None:
    """The type of a text; None if it is none."""
    found = _decoded(head.rstrip(b"\x1a"), hints)  # DOS ends a text so
    start = (found or "").lstrip("\ufeff \t\r\n").lower()
    if not start:
        return None
    for beginning, mime in _BEGINNINGS:
        if start.startswith(beginning):
            return mime
    if start.startswith("<") and (mime := _markup(start, hints)) != "text/plain":
        return mime
    if _is_json(start):
        return "application/json"
    if _is_mail(start, hints):
        return "message/rfc822"
    return _as_named(start, hints)


def decoded(head: bytes) -> str | None:
    """As the text that it is, whatever its encoding; None if it is none."""
    return _decoded(head, Hints())


def _decoded(head: bytes, hints: Hints) -> str | None:
    for encoding in _encodings(head):
        try:
            # Not final: the head may end in the middle of a letter.
            found = codecs.getincrementaldecoder(encoding)().decode(head)
        except UnicodeDecodeError:
            continue
        if not _NOT_TEXT.search(found):
            return found
    return head.decode("cp1252", "replace") if _is_old_text(head, hints) else None


def _encodings(head: bytes) -> Iterator[str]:
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        yield "utf-16"
    yield "utf-8"
    if len(head) > 3:  # UTF-16 without a mark: each other byte of western text is 0
        sample = head[:512]
        if sample[1::2].count(0) * 10 > len(sample[1::2]) * 6:
            yield "utf-16-le"
        elif sample[::2].count(0) * 10 > len(sample[::2]) * 6:
            yield "utf-16-be"


def _is_old_text(head: bytes, hints: Hints) -> bool:
    """A text in one of the encodings of before Unicode: what packed data can hardly be."""
    if _NOT_OLD_TEXT.search(head):
        return False
    if hints.declared.startswith("text/"):
        return True
    return len(_READABLE.findall(head)) * 10 >= len(head) * 6


_HTML = re.compile(r"<(!doctype html|html|head|body|title|script|style|meta|div|p|h1|table)\b")
_TAG = re.compile(r"<[a-z!/]")
_ROOT = re.compile(r"<(?:!doctype\s+)?(?:[\w.-]+:)?([\w.-]+)")
_ROOTS = {
    "svg": "image/svg+xml", "gpx": "application/gpx+xml", "smil": "application/smil",
    "kml": "application/vnd.google-earth.kml+xml", "wml": "text/vnd.wap.wml",
}  # fmt: skip


def _markup(start: str, hints: Hints) -> str:
    root = _from_root(start)
    name = found[1] if (found := _ROOT.match(root)) else ""
    if mime := _ROOTS.get(name):
        return mime
    is_xml = start.startswith("<?xml")
    if _HTML.match(root):
        says_so = hints.choose(frozenset({"application/xhtml+xml"}))
        return (says_so if is_xml or "xmlns=" in root[:1000] else None) or "text/html"
    if is_xml or (name and (hints.is_xml or _is_element(root, name))):
        return "application/xml"
    return "text/html" if _TAG.match(root) else "text/plain"  # a heart is "<3"


def _from_root(start: str) -> str:
    """From the first tag on, behind comments and instructions.

    Without a pattern, which takes seconds over a thousand comments that do not end.
    """
    at = 0
    while opened := next((one for one in _ASIDES if start.startswith(one[0], at)), None):
        end = start.find(opened[1], at)
        if end < 0:
            break
        at = end + len(opened[1])
        at += len(start[at:]) - len(start[at:].lstrip())
    return start[at:]


_ASIDES = (("<!--", "-->"), ("<?", "?>"))


def _is_element(root: str, name: str) -> bool:
    """Whether it is one element from its first tag to its last, as XML is."""
    end = rf"</(?:[\w.-]+:)?{re.escape(name)}\s*>\s*$"
    return "xmlns" in root[:1000] or re.search(end, root[-300:]) is not None


def _is_json(start: str) -> bool:
    if not start.startswith(("{", "[")):
        return False
    try:
        json.loads(start)
    except json.JSONDecodeError:
        return len(start) > _HALF_A_HEAD  # cut off, so only its beginning can speak for it
    except RecursionError:
        return True
    return True


def _is_mail(start: str, hints: Hints) -> bool:
    """A mail begins with its header; a text that quotes one rarely has three of its lines."""
    names = set()
    for line in start.splitlines()[:60]:
        if not line:
            break
        if found := _MAIL_LINE.match(line):
            names.add(found[1])
        elif not line.startswith((" ", "\t")):
            return False
    known = len(names & _MAIL)
    is_named = hints.choose(frozenset({"message/rfc822"})) is not None
    return known >= (1 if is_named else 3) and (is_named or "mime-version" in names)


def _as_named(start: str, hints: Hints) -> str:
    if (wanted := hints.choose(_AS_NAMED)) is not None:
        return wanted
    # Windows calls a table by the name of the program that opens it.
    first = start.partition("\n")[0]
    if hints.declared == "application/vnd.ms-excel" and re.search("[,;\t]", first):
        return "text/csv" if re.search("[,;]", first) else "text/tab-separated-values"
    return "text/plain"
