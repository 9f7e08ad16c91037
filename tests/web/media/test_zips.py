"""Originals as a ZIP: what real programs unpack, check and find in it."""

import hashlib
import io
import os
import subprocess
import tracemalloc
import unicodedata
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import requests
from flask import Flask
from werkzeug.exceptions import NotFound

from tests.support import homes, stored_files
from tests.support.servers import serving
from viewer import holdings
from viewer.models import MediaAttachment
from viewer.web.media import zips

SENT = datetime(2026, 9, 21, 14, 13, 19, tzinfo=UTC)


@pytest.fixture
def keep(app: Flask, tmp_path: Path) -> Callable[..., zips.Entry]:
    """A file in the store, as an entry of an archive."""

    def place(name: str, content: bytes, **words: Any) -> zips.Entry:
        digest = hashlib.sha256(content).hexdigest()
        key = f"{digest[:16]}-{os.urandom(4).hex()}.jpg"
        stored_files.place(content, key, holdings.spool(), homes.own())
        file = {"file_path": key, "sha256": digest, "file_size": len(content), "sent_at": SENT}
        storage = homes.own_id()
        return zips.Entry(MediaAttachment(storage=storage, **file | words), name)

    return place


@pytest.fixture
def unpacked(tmp_path: Path) -> Callable[..., Path]:
    """A folder in which the real unzip has unpacked it and sha256sum found it right."""

    def unpack(*words: Any) -> Path:
        response = zips.answer(*words)
        file, folder = tmp_path / "made.zip", tmp_path / "unpacked"
        file.write_bytes(b"".join(response.response))  # type: ignore[arg-type]
        assert file.stat().st_size == response.content_length
        environment = {**os.environ, "LC_ALL": "C.UTF-8", "TZ": "America/New_York"}
        for command in (
            ["unzip", "-q", str(file), "-d", str(folder)],
            ["unzip", "-tq", str(file)],
        ):
            subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
        checked = subprocess.run(
            ["sha256sum", "--check", "--strict", zips.SUMS],
            cwd=folder, check=False, env=environment, capture_output=True, text=True,
        )  # fmt: skip
        assert (checked.returncode, checked.stderr) == (0, ""), checked.stdout
        assert len(checked.stdout.splitlines()) == len(files(folder)) - 1
        return folder

    return unpack


def files(folder: Path) -> list[str]:
    found = (path for path in folder.rglob("*") if path.is_file())
    return sorted(path.relative_to(folder).as_posix() for path in found)


def read(response: Any) -> bytes:
    return b"".join(response.response)


def test_real_programs_unpack_it_and_find_every_byte_right(keep, unpacked):
    wall, floor = os.urandom(700_000), os.urandom(3)
    folder = unpacked(
        [keep("Dana/wall.jpg", wall), keep("Dana/floor.jpg", floor)],
        "Dana.zip",
        {"README.txt": "What this is.\n"},
    )

    assert files(folder) == ["Dana/floor.jpg", "Dana/wall.jpg", "README.txt", "SHA256SUMS"]
    assert (folder / "Dana/wall.jpg").read_bytes() == wall
    assert (folder / "Dana/floor.jpg").read_bytes() == floor
    assert (folder / "README.txt").read_text() == "What this is.\n"


def test_a_file_has_the_date_on_which_it_was_sent(keep, unpacked):
    content = b"crack"
    folder = unpacked([keep("a.jpg", content)], "a.zip")

    assert (folder / "a.jpg").stat().st_mtime == SENT.timestamp()
    with zipfile.ZipFile(io.BytesIO(read(zips.answer([keep("a.jpg", content)], "a.zip")))) as found:
        assert found.getinfo("a.jpg").date_time == (2026, 9, 21, 10, 13, 19 - 1)  # New York


@pytest.mark.parametrize("year", [1905, 1980, 2107, 2300])
def test_a_date_that_no_archive_can_hold_harms_nothing(keep, unpacked, year):
    folder = unpacked([keep("a.jpg", b"x", sent_at=datetime(year, 2, 27, 12, tzinfo=UTC))], "a.zip")

    assert (folder / "a.jpg").read_bytes() == b"x"


def test_names_are_safe_everywhere_and_nobody_writes_over_another(keep, unpacked):
    wanted = {
        "../../etc/passwd": "_/_/etc/passwd",
        "/absolute.jpg": "absolute.jpg",
        "C:\\Windows\\x.exe": "C--Windows-x.exe",
        "a/./b//c.jpg": "a/_/b/c.jpg",
        "con.jpg": "con_.jpg",
        "LPT1": "LPT1_",
        "console.jpg": "console.jpg",
        'what? "this" <is>|*.jpg': "what- -this- -is---.jpg",
        "ends in a dot. ": "ends in a dot",
        "new\nline\r\t\0.jpg": "newline.jpg",
        "\u202egpj.exe": "gpj.exe",
        "": "_ (2)",
        "\\": "_ (3)",
        "Größe €.jpg": "Größe €.jpg",
        "Gro\u0308ße.jpg": "Größe.jpg",
        "-rf": "_rf",
        "IMG.jpg": "IMG.jpg",
        "img.JPG": "img (2).JPG",
        "img.jpg": "img (3).jpg",
        "img (2).jpg": "img (2) (2).jpg",
        "SHA256SUMS": "SHA256SUMS (2)",
        "missing.TXT": "missing (2).TXT",
        "a": "a (2)",  # there is a folder of that name
        f"{'long' * 200}.jpeg": f"{('long' * 24)[:95]}.jpeg",
    }
    entries = [keep(name, name.encode()) for name in wanted]

    folder = unpacked(entries, "all.zip")

    assert set(files(folder)) == {*wanted.values(), "SHA256SUMS"}
    for name, made in wanted.items():
        assert (folder / made).read_bytes() == name.encode()
    assert len({name.casefold() for name in files(folder)}) == len(wanted) + 1


@pytest.mark.parametrize("letter", ["裂", "é", "e\u0301", "🧱", "g\u0306\u0323", "ক্"])
def test_names_fit_into_bytes_and_are_cut_at_a_letter(letter, keep, unpacked):
    long, whole = letter * 150, unicodedata.normalize("NFC", letter)
    entries = [keep(f"{long}/{long}{n}.jpeg", f"{n}".encode()) for n in range(3)]

    folder = unpacked(entries, "all.zip")

    names = [name for name in files(folder) if name != zips.SUMS]
    assert {(folder / name).read_bytes() for name in names} == {b"0", b"1", b"2"}
    for inside, name in (name.split("/") for name in names):
        assert max(len(inside.encode()), len(name.encode())) <= 255
        assert inside == whole * (len(inside) // len(whole))
        assert name.endswith(".jpeg")


@pytest.mark.on_folder("changes the file on its disk")
def test_what_is_missing_is_listed_and_the_rest_comes(keep, unpacked, tmp_path):
    here, gone, short = keep("here.jpg", b"1"), keep("gone.jpg", b"22"), keep("short.jpg", b"333")
    (tmp_path / "media" / gone.media.file_path).unlink()
    (tmp_path / "media" / short.media.file_path).unlink()
    (tmp_path / "media" / short.media.file_path).write_bytes(b"3")
    later = zips.Entry(MediaAttachment(sent_at=SENT), "later.jpg", "it is on its way")

    folder = unpacked([here, gone, short, later], "a.zip")

    assert files(folder) == ["MISSING.txt", "SHA256SUMS", "here.jpg"]
    assert (folder / "MISSING.txt").read_text().splitlines()[2:] == [
        "gone.jpg: it is missing from the store",
        "short.jpg: it is damaged in the store",
        "later.jpg: it is on its way",
    ]


@pytest.mark.on_folder("changes the file on its disk")
def test_an_archive_of_nothing_is_an_error_in_words(keep, tmp_path):
    gone = keep("gone.jpg", b"22")
    (tmp_path / "media" / gone.media.file_path).unlink()

    with pytest.raises(NotFound) as one:
        zips.answer([gone], "a.zip", {"README.txt": "Only words"})
    with pytest.raises(NotFound) as none:
        zips.answer([], "a.zip")

    assert "missing from the store" in one.value.description
    assert "none was chosen" in none.value.description


def test_bytes_of_which_nobody_kept_a_sum_get_one(keep, unpacked):
    folder = unpacked([keep("a.jpg", b"abc", sha256=None)], "a.zip")

    assert hashlib.sha256(b"abc").hexdigest() in (folder / zips.SUMS).read_text()


def test_the_name_of_the_download_is_said_for_every_browser(keep):
    entry = keep("a.jpg", b"x")

    headers = zips.answer([entry], 'Dana "Größe" \r\nX: y/€.zip').headers

    assert headers["Content-Disposition"] == (
        'attachment; filename="Dana -Groe- X- y-.zip"; '
        "filename*=UTF-8''Dana%20-Gr%C3%B6%C3%9Fe-%20X-%20y-%E2%82%AC.zip"
    )
    assert headers["Cache-Control"] == "private, no-store"


# --- While it is sent ----------------------------------------------------------------------


@pytest.fixture
def door(app: Flask) -> Iterator[Callable[..., str]]:
    """A real server that answers with such an archive; its address."""
    asked: list[Any] = []

    def answer(environ: Any, start: Any) -> Any:
        with app.test_request_context():
            return zips.answer(*asked)(environ, start)

    with serving(answer) as address:

        def serve(*words: Any) -> str:
            asked[:] = words
            return address

        yield serve


def fetch(address: str) -> tuple[bytes, bool]:
    """What a browser would have got, and whether it would call that a whole file."""
    got = b""
    with requests.get(address, stream=True, timeout=60) as answer:
        assert answer.status_code == 200
        try:
            for chunk in answer.iter_content(65536):
                got += chunk
        except requests.exceptions.ChunkedEncodingError:
            return got, False
    return got, True


def test_a_real_server_sends_the_length_first(keep, door):
    address = door([keep("a.jpg", b"x" * 100_000)], "a.zip")

    with requests.get(address, stream=True, timeout=60) as answer:
        promised = int(answer.headers["Content-Length"])
        content = answer.content

    assert len(content) == promised
    assert zipfile.ZipFile(io.BytesIO(content)).testzip() is None


ALTERATIONS = {
    "shorter": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"!"),
    "gone": lambda path: path.unlink(),
    "one bit": lambda path: path.write_bytes(path.read_bytes()[:-1] + b"!"),
}


@pytest.mark.parametrize("alteration", ALTERATIONS.values(), ids=ALTERATIONS)
@pytest.mark.on_folder("changes the file on its disk")
def test_what_changes_while_it_is_sent_breaks_the_download_off(
    keep, app, tmp_path, door, caplog, alteration
):
    first, second = keep("a.jpg", os.urandom(100)), keep("b.jpg", os.urandom(3_000_000))
    with app.test_request_context():
        response = zips.answer([first, second], "a.zip")
    path = tmp_path / "media" / second.media.file_path
    path.chmod(0o644)

    alteration(path)
    got = []
    with pytest.raises(zips.BrokenOff):
        got.extend(response.response)

    assert "broke off" in caplog.text
    assert len(b"".join(got)) < response.content_length  # so a browser knows
    with pytest.raises(zipfile.BadZipFile):
        zipfile.ZipFile(io.BytesIO(b"".join(got)))


@pytest.mark.on_folder("changes the file on its disk")
def test_a_browser_knows_that_a_download_broke_off(keep, door, tmp_path):
    entry = keep("a.jpg", os.urandom(1_000_000))
    path = tmp_path / "media" / entry.media.file_path
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-1] + b"?")

    got, is_whole = fetch(door([entry, keep("b.jpg", b"2")], "a.zip"))

    assert not is_whole
    assert not zipfile.is_zipfile(io.BytesIO(got))


@pytest.mark.on_folder("its limit is that of a disk; from S3 it took 4 MB")
def test_it_is_never_whole_in_memory_or_on_disk(keep, tmp_path):
    entries = [keep(f"{n}.jpg", bytes([n]) * 3_000_000) for n in range(8)]
    before = sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())
    response = zips.answer(entries, "a.zip")

    tracemalloc.start()
    length = sum(len(chunk) for chunk in response.response)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert length == response.content_length
    assert peak < 3_000_000
    assert sum(p.stat().st_size for p in tmp_path.rglob("*") if p.is_file()) == before


# --- Beyond what the old format holds ------------------------------------------------------


@pytest.fixture
def hollow(app: Flask, tmp_path: Path) -> Callable[..., zips.Entry]:
    """A file of zeros that is large and takes no room."""

    def make(name: str, size: int) -> zips.Entry:
        path = tmp_path / "media" / name
        path.parent.mkdir(exist_ok=True)
        with path.open("wb") as file:
            file.truncate(size)
        storage = homes.own_id()
        media = MediaAttachment(file_path=name, file_size=size, sent_at=SENT, storage=storage)
        return zips.Entry(media, name)

    return make


@pytest.mark.proof  # sixteen seconds
def test_more_than_four_gigabytes_are_one_archive(hollow, keep, tmp_path):
    # The large file between two small ones: its size, the place of the next and the place of the
    # directory each need more than 32 bits.
    large = 4_300_000_000
    entries = [keep("a.jpg", b"first"), hollow("large.mp4", large), keep("z.jpg", b"last")]
    response = zips.answer(entries, "a.zip")
    file = tmp_path / "large.zip"

    zeros = bytes(zips.CHUNK)
    with file.open("wb") as out:
        for chunk in response.response:
            if chunk == zeros:
                out.seek(len(chunk), os.SEEK_CUR)
            else:
                out.write(chunk)

    assert file.stat().st_size == response.content_length > 4_300_000_000
    listed = subprocess.run(["unzip", "-l", file], check=True, capture_output=True, text=True)
    assert "4300000000  2026-09-21" in listed.stdout
    with zipfile.ZipFile(file) as archive:
        assert [i.file_size for i in archive.infolist()][:3] == [5, large, 4]
        assert archive.read("z.jpg") == b"last"
        assert "large.mp4" in archive.read(zips.SUMS).decode()


@pytest.mark.proof  # six seconds
def test_more_files_than_sixteen_bits_count_are_one_archive(keep, tmp_path):
    entry = keep("a.jpg", b"x")
    entries = [replace(entry, name=f"{n}.jpg") for n in range(66_000)]

    response = zips.answer(entries, "a.zip")
    content = read(response)

    assert len(content) == response.content_length
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert len(archive.namelist()) == 66_001
