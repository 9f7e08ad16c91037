"""No stranger steers where a file lies, and no two files want one name."""

import re
from datetime import UTC, datetime
from pathlib import PurePosixPath

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as any_of

from tests.payloads import Message as Text
from viewer import quo
from viewer.extensions import db
from viewer.intake import ingest, naming
from viewer.models import MediaAttachment
from viewer.storage.keys import check_key

MOMENT = datetime(2025, 1, 15, 21, 40, tzinfo=UTC)
HOST = "https://m.example.com/"

HOSTILE_NAMES = [
    "../../etc/passwd", "..%2f..%2fetc%2fpasswd", "%2e%2e/x.jpg", "/etc/passwd", "//x", "C:\\x.jpg",
    "con", "NUL.jpg", ".htaccess", "...", ".", "", "-rf", "--help.jpg", "x" * 5000,
    "x" * 5000 + ".jpg", "a\nb.jpg", "a%0d%0aSet-Cookie:x.jpg", "a%00.jpg", "'; rm -rf ~;.jpg",
    "$(reboot).jpg", "📷.jpg", "\u202egpj.exe", "\ud800.jpg", "%ff%fe.jpg", "crack_thumb.jpg",
    "crack_preview.jpg", "a_playable_thumb.jpg", "x.jpg/", "a.tar.gz", "x.jp/g", "x.html;.jpg",
]  # fmt: skip
HOSTILE_NUMBERS = [
    None, "", "+1 (555) 010-0123", "12345", "pat@example.com", "PHARMACY", "../", "../../etc",
    "9" * 500, "x" * 500, ".", "..", "-rf", "con", "+16175550123,+16175550124", "a\nb", "📞", "%2e",
    "Anonymous", "unknown-../", {"x": 1}, ["+1"], 7, "+" * 40, "\ud800", "＋１６１７５５５０１２３",
]  # fmt: skip
DECLARED = [
    None,
    "",
    "image/jpeg",
    "../../x",
    "text/html",
    "image/../../x",
    "a/b/c",
    "\n",
    "x" * 90,
]


def path(role: quo.Role, number: object, url: str | None, declared: str | None) -> str:
    """As ingest composes it."""
    name = naming.clean_name(role, url, declared)
    stem = naming.stem(role, MOMENT, quo.canonical(number), name)
    return stem + naming.first_extension(role, url, declared)


def assert_is_harmless(key: str) -> None:
    assert check_key(key) == key
    assert len(key) < 500
    assert re.fullmatch(
        r"2025/01/15/[A-Za-z0-9._-]{1,40}/(messages|voicemails|recordings)/1736977200_"
        r"[A-Za-z0-9-]{1,60}\.[a-z0-9]{1,20}",
        key,
    )
    assert all(re.fullmatch(r"[A-Za-z0-9._-]{1,120}", name) for name in key.split("/"))
    assert not {".", ".."} & set(key.split("/"))


@pytest.mark.parametrize("role", quo.Role)
@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_a_hostile_name_gives_a_harmless_key(name, role):
    for declared in DECLARED:
        assert_is_harmless(path(role, "+16175550123", HOST + name, declared))
        assert_is_harmless(path(role, "+16175550123", name, declared))


@pytest.mark.parametrize("number", HOSTILE_NUMBERS, ids=repr)
def test_a_hostile_number_gives_a_harmless_key(number):
    assert_is_harmless(path(quo.Role.ATTACHMENT, number, None, None))


@given(
    any_of.sampled_from(list(quo.Role)),
    any_of.one_of(any_of.none(), any_of.text()),
    any_of.one_of(any_of.none(), any_of.text(), any_of.text().map(HOST.__add__)),
    any_of.one_of(any_of.none(), any_of.text()),
)
def test_whatever_a_stranger_says_gives_a_harmless_key(role, number, url, declared):
    assert_is_harmless(path(role, number, url, declared))


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_what_a_source_calls_a_file_is_shown_as_one_short_line(name):
    shown = naming.file_name(HOST + name)

    assert shown is None or (len(shown) <= 255 and shown.isprintable() and "/" not in shown)


@pytest.mark.parametrize(
    ("address", "declared", "expected"),
    [
        ("opstatics/0123456789abcdef0123456789abcdef", "image/jpeg", "photo"),
        ("opstatics/0123456789abcdef0123456789abcdef", "video/mp4", "video"),
        ("opstatics/0123456789abcdef0123456789abcdef", "application/pdf", "file"),
        ("12345.jpg", None, "photo"),
        ("north%20wall.jpg?w=4", None, "north-wall"),
        ("IMG_1234.HEIC", None, "IMG-1234"),
    ],
)
def test_a_name_says_something_to_people(address, declared, expected):
    assert naming.clean_name(quo.Role.ATTACHMENT, HOST + address, declared) == expected


@pytest.mark.parametrize("name", ["x_thumb", "x_preview", "x_playable", "_thumb", "a_b_thumb"])
def test_no_original_is_called_like_a_copy(name):
    original = PurePosixPath(path(quo.Role.ATTACHMENT, None, f"{HOST}{name}.jpg", None))

    assert original.stem.count("_") == 1  # that of a copy, <epoch>_<name>_thumb, has two


def seen(*addresses: str) -> list[MediaAttachment]:
    """The rows of a message with these files."""
    payload = Text(1, media=list(addresses)).payload()
    ingest.upsert(quo.understand(payload, received_at=MOMENT.replace(year=2027)), MOMENT)
    return list(db.session.scalars(sa.select(MediaAttachment)))


@pytest.mark.parametrize(
    "addresses",
    [
        ["a/wall.jpg", "b/wall.jpg", "c/wall.jpg"],
        ["a/wall.jpg", "b/WALL.jpg", "c/Wall.JPG"],
        ["a/wall.jpg", "a/wall.png", "a/wall.heic"],  # their copies share a name without extension
        ["a/wall-2.jpg", "a/wall.jpg", "b/wall.jpg"],
        ["a/wall.jpg", "b/wall.jpg", "a/wall-2.jpg"],
        ["a/wall.jpg", "a/wall_thumb.jpg", "a/wall-thumb.jpg"],
        ["a/0123456789abcdef01", "a/0123456789abcdef02", "a/0123456789abcdef03"],
    ],
)
def test_files_that_want_one_name_all_have_one(addresses, app):
    rows = seen(*(HOST + address for address in addresses))

    originals = {row.file_path.lower() for row in rows}
    copies = {
        f"{row.file_path.rpartition('.')[0]}_{copy}.jpg".lower()
        for row in rows
        for copy in ("thumb", "preview", "playable")
    }
    assert len(originals) == len(addresses)
    assert len(copies) == 3 * len(addresses)
    assert not originals & copies
