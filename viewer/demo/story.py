"""Reads `story.txt`: who wrote, what was said, and what came with it."""

import re
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import cast

from viewer.demo.payloads import Dialect

_FILE = re.compile(r"\[([^\]]+)\]")
_GAP = re.compile(r"\+(\d+)([dh])")


@dataclass(frozen=True)
class Beat:
    """One thing that happens in a conversation."""

    what: str  # text, reply, failed, undelivered, voicemail, missed, noname, call
    text: str = ""
    files: tuple[str, ...] = ()  # kinds; a photo each unless the kind says otherwise
    voice: str = ""
    old_phone: bool = False  # the voicemail is AMR
    pause: timedelta | None = None  # since the beat before; None: minutes


@dataclass(frozen=True)
class Conversation:
    """One conversation from its first word to its last."""

    label: str  # the customer's full name or the group's; "" where the office has none
    numbers: tuple[str, ...]  # E.164, the first is who writes
    address: str
    wall: str
    dialect: Dialect
    beats: tuple[Beat, ...]

    @property
    def is_group(self) -> bool:
        return len(self.numbers) > 1


def read() -> list[Conversation]:
    """Every conversation, in the order of the file."""
    text = (Path(__file__).parent / "story.txt").read_text(encoding="utf-8")
    _, *chapters = re.split(r"^== ", text, flags=re.MULTILINE)
    return [_conversation(chapter) for chapter in chapters]


def _conversation(chapter: str) -> Conversation:
    title, *lines = [line.strip() for line in chapter.strip().splitlines()]
    label, digits, address, wall, dialect = (part.strip() for part in title.split("|"))
    pause: timedelta | None = None
    beats = []
    for line in lines:
        if gap := _GAP.fullmatch(line):
            amount = int(gap[1])
            pause = timedelta(days=amount) if gap[2] == "d" else timedelta(hours=amount)
            continue
        beats.append(_beat(line, pause))
        pause = None
    return Conversation(
        label="" if label == "-" else label.removeprefix("group: "),
        numbers=tuple(f"+1617555{last.strip()}" for last in digits.split(",")),
        address="" if address == "-" else address,
        wall=wall,
        dialect=cast("Dialect", dialect),
        beats=tuple(beats),
    )


def _beat(line: str, pause: timedelta | None) -> Beat:
    sign, _, rest = line.partition(" ")
    match sign:
        case "<":
            kinds = [kind for note in _FILE.findall(rest) for kind in _kinds(note)]
            return Beat("text", _FILE.sub("", rest).strip(), tuple(kinds), pause=pause)
        case ">":
            return Beat("reply", rest, pause=pause)
        case ">!":
            return Beat("failed", rest, pause=pause)
        case ">?":
            return Beat("undelivered", rest, pause=pause)
        case "vm":
            voice, _, phone = rest.partition(" ")
            return Beat("voicemail", voice=voice, old_phone=phone == "amr", pause=pause)
        case "missed" | "noname" | "call":
            return Beat(sign, pause=pause)
    raise ValueError(f"the story has a line nobody can play: {line!r}")


def _kinds(note: str) -> list[str]:
    """ "3 turned" is three turned photos, "2" two plain ones, "pdf" one PDF."""
    count, _, kind = note.partition(" ")
    if count.isdigit():
        return [kind or "photo"] * int(count)
    return [note]
