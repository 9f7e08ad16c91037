"""What every store promises. Each backend runs through the same tests, made by its address."""

import hashlib
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.crowds import run_all
from tests.support.file_systems import without_hard_links
from tests.support.object_stores import CREDENTIALS
from tests.support.stored_files import place
from viewer import storage
from viewer.storage import (
    SSH,
    Missing,
    Occupied,
    Spool,
    SSHAddress,
    Stat,
    Store,
    Unavailable,
    UnknownStore,
    Workspace,
    checksum,
    from_url,
)
from viewer.storage.keys import check_key

KEY = "2025/01/15/617-555-0123/messages/1736977200_photo.jpg"
ASIDE = "quarantine/photo.jpg"


# A new backend is one more: the address of an empty store.
@pytest.fixture(
    params=[
        "folder",
        "folder without hard links",
        "s3",
        pytest.param("ssh", marks=pytest.mark.proof),
    ]
)
def address(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "folder without hard links":
        without_hard_links(monkeypatch)
    if request.param.startswith("folder"):
        return f"folder:{tmp_path / 'media'}"
    if request.param == "ssh":
        host = request.getfixturevalue("ssh_host")
        request.getfixturevalue("monkeypatch").setitem(_ssh, "config", host.config)
        return str(host.url(tmp_path / "media"))
    bucket = request.getfixturevalue("shared_bucket")
    return str(request.getfixturevalue("object_store").address(bucket, f"test/{uuid.uuid4()}"))


_ssh: dict[str, Path] = {}  # the configuration of the client


def at(address: str) -> Store:
    if address.startswith("ssh:"):
        return SSH(SSHAddress.read(address), _ssh["config"])
    return from_url(address, credentials=CREDENTIALS)


@pytest.fixture
def store(address: str) -> Store:
    return at(address)


@pytest.fixture
def spool(store: Store, tmp_path: Path) -> Spool:
    return Workspace(tmp_path / "media", store)


@pytest.fixture
def marked(store: Store) -> None:
    """After a first start: before it, nothing could be called missing in an empty store."""
    store.mark("ours")
    store.expect("ours")


@pytest.fixture
def put(store: Store, spool: Spool) -> Callable[..., None]:
    def put(content: bytes, key: str = KEY) -> None:
        place(content, key, spool, store)

    return put


def read(store: Store, key: str = KEY, *span: int) -> bytes:
    with store.open(key, *span) as file:
        return file.read()


# --- Bytes ---------------------------------------------------------------------------------


def test_what_was_placed_is_there_and_nothing_else(store, put):
    put(b"crack")

    assert read(store) == b"crack"
    assert store.stat(KEY).size == 5
    assert list(store.keys()) == [(KEY, 5)]


@pytest.mark.parametrize(
    ("span", "content"),
    [
        ((0,), b"crack"), ((2,), b"ack"), ((2, 2), b"ac"), ((0, 0), b""), ((3, 99), b"ck"),
        ((5,), b""), ((99,), b""), ((99, 1), b""),
    ],
)  # fmt: skip
def test_a_part_of_a_file_knows_how_large_the_whole_is(span, content, store, put):
    put(b"crack")

    with store.open(KEY, *span) as file:
        assert (file.read(), file.size) == (content, 5)
        assert file.read() == b""


def test_a_file_is_read_in_pieces_and_may_be_closed_twice(store, put):
    put(bytes(range(250)) * 4)

    with store.open(KEY, 10, 900) as file:
        pieces = []
        while piece := file.read(256):
            pieces.append(piece)
    file.close()

    assert [len(piece) for piece in pieces] == [256, 256, 256, 132]
    assert b"".join(pieces) == (bytes(range(250)) * 4)[10:910]


def test_nothing_is_ever_replaced(store, put):
    put(b"first")

    with pytest.raises(Occupied):
        put(b"second")

    assert read(store) == b"first"


def test_of_many_that_want_one_name_one_gets_it_whole(store, put):
    contents = [bytes([number]) * 100_000 for number in range(16)]
    barrier, won = threading.Barrier(len(contents)), []

    def compete(content: bytes) -> None:
        barrier.wait()
        try:
            put(content)
        except Occupied:
            return
        won.append(content)

    threads = [threading.Thread(target=compete, args=(content,)) for content in contents]
    run_all(threads)

    assert [read(store)] == won


def test_a_part_is_seen_under_no_key(store, spool, marked):
    part = spool.new_part()
    part.write(b"half of a crack")

    with pytest.raises(Missing):
        store.open(KEY)
    assert list(store.keys()) == []

    part.discard()
    part.discard()  # twice is fine
    assert not part.path.exists()


@pytest.mark.parametrize(
    "key",
    [
        "", "..", "../x", "a/../b", "/etc/passwd", "a//b", "a/", "./a", ".incoming/x", "a/.hidden",
        "a\\b", "a b", "a\nb", "a\n", "a\x00b", "ä", "a%2fb", "C:x", "x" * 201,
        "/".join(["x"] * 300),
    ],
)  # fmt: skip
def test_a_key_that_we_would_not_choose_is_refused(key, store, spool):
    part = spool.new_part()
    part.seal()

    for verb in (check_key, store.open, store.stat, store.remove, store.settle):
        with pytest.raises(ValueError, match="not a key"):
            verb(key)
    for call in (
        lambda: store.place(key, part.path),
        lambda: store.move(key, KEY),
        lambda: store.move(KEY, key),
    ):
        with pytest.raises(ValueError, match="not a key"):
            call()


def test_forgetting_twice_is_fine(store, put, marked):
    put(b"crack")

    store.remove(KEY)
    store.remove(KEY)

    with pytest.raises(Missing):
        store.stat(KEY)
    assert list(store.keys()) == []


def test_the_checksum_is_of_all_bytes(store, put):
    content = bytes(range(256)) * 5000
    put(content)

    found = checksum(store.open(KEY), head_size=8)

    assert (found.size, found.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    assert found.head == content[:8]
    assert store.stat(KEY).sha256 in (None, found.sha256)
    with pytest.raises(Missing):
        store.open("nothing.jpg")


# --- Lists ---------------------------------------------------------------------------------


def test_keys_are_listed_by_how_they_begin(store, put):
    sizes = {KEY: 1, "2025/01/15/a.jpg": 2, "2025/01/16/b.jpg": 3, ASIDE: 4, "quarantined.jpg": 5}
    for key, size in sizes.items():
        put(bytes(size), key)

    def listed(prefix: str) -> dict[str, int]:
        return dict(store.keys(prefix))

    assert listed("") == sizes
    assert listed("2025/01/15") == {KEY: 1, "2025/01/15/a.jpg": 2}
    assert listed("2025/01/15/") == {KEY: 1, "2025/01/15/a.jpg": 2}
    assert listed("2025/01/1") == {KEY: 1, "2025/01/15/a.jpg": 2, "2025/01/16/b.jpg": 3}
    assert listed("quarantine") == {ASIDE: 4, "quarantined.jpg": 5}
    assert listed("quarantine/") == {ASIDE: 4}
    assert listed(KEY) == {KEY: 1}
    assert listed("2026/") == {}


def test_a_size_is_told_at_a_glance_and_what_is_missing_is_missing(store, put):
    put(b"crack")

    assert store.glance(KEY) == 5
    with pytest.raises(Missing):
        store.glance("nothing.jpg")


# --- Another name --------------------------------------------------------------------------


def test_a_moved_file_has_the_other_name_only_and_moving_again_is_fine(store, put):
    put(b"crack")

    store.move(KEY, ASIDE)
    store.move(KEY, ASIDE)

    assert read(store, ASIDE) == b"crack"
    assert list(store.keys()) == [(ASIDE, 5)]


def test_a_move_replaces_nothing_and_invents_nothing(store, put):
    put(b"crack")
    put(b"another", ASIDE)

    with pytest.raises(Occupied):
        store.move(KEY, ASIDE)
    with pytest.raises(Missing):
        store.move("nothing.jpg", "quarantine/nothing.jpg")

    assert (read(store), read(store, ASIDE)) == (b"crack", b"another")


# --- Whose it is ---------------------------------------------------------------------------


def test_a_marker_is_kept_and_never_replaced(store, address):
    empty = store.is_empty(), store.identity()

    store.mark("ours")
    with pytest.raises(Unavailable):
        store.mark("theirs")

    assert empty == (True, None)
    assert (store.is_empty(), at(address).identity()) == (False, "ours")


def test_a_store_that_is_not_the_expected_one_gives_and_takes_nothing(store, spool, put, address):
    store.mark("ours")
    store.expect("ours")
    put(b"crack")
    waiting = spool.new_part()
    waiting.seal()
    store.expect("somebody else's")

    assert store.is_away()
    assert "belongs to another database" in (store.why_away() or "")
    for call in (
        lambda: store.open(KEY),
        lambda: store.open("nothing.jpg"),
        lambda: store.stat("nothing.jpg"),
        lambda: store.place("b.jpg", waiting.path),
        lambda: store.move(KEY, ASIDE),
        lambda: store.remove(KEY),
        lambda: list(store.keys()),
        spool.new_part,
        spool.decoder_folder,
    ):
        with pytest.raises(Unavailable, match="another database"):
            call()
    store.expect("ours")
    assert list(store.keys()) == [(KEY, 5)]
    assert at(address).is_away()  # who expects nothing is not served from another's


def test_an_empty_store_is_no_proof_that_a_file_is_lost(store):
    with pytest.raises(Unavailable, match="empty"):
        store.open(KEY)


# --- Addresses -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("s3:bucket", "names no bucket"),
        ("s3:///prefix", "names no bucket"),
        ("s3://Bucket", "names no bucket"),
        ("s3://bucket/../prefix", "prefix"),
        ("s3://bucket/.hidden", "prefix"),
        ("s3://bucket#x", "must not contain #"),
        ("s3://bucket?endpoint=host", "endpoint"),
        ("s3://bucket?endpoint=https://host/path", "endpoint"),
        ("s3://bucket?endpoint=https://host:x", "endpoint"),
        ("s3://bucket?region=here now", "region"),
        ("s3://bucket?style=odd", "style"),
        ("s3://bucket?colour=red", "not 'colour'"),
        ("s3://bucket?x", "This is not an address"),
        ("s3://key:hush@bucket", "must not hold an access key"),
        ("s3://bucket?endpoint=https://key:hush@host", "must not hold an access key"),
        ("ftp:/x", "not in ftp:"),
        ("/srv/photos", "folder:"),
        ("folder:photos", "no absolute path"),
        ("folder:", "no absolute path"),
    ],
)
def test_an_address_that_is_none_is_refused_by_name(url, words):
    with pytest.raises(UnknownStore, match=words) as refused:
        from_url(url)

    assert "hush" not in str(refused.value)


def test_an_address_in_s3_says_where_the_store_is_and_nothing_else():
    url = "s3://bucket/a/b?endpoint=https://s3.example:9000&region=eu-central-1&style=path"

    assert from_url(url, credentials=CREDENTIALS).address == url
    assert from_url("s3://bucket/a/", credentials=CREDENTIALS).address == "s3://bucket/a"


def test_a_folder_may_have_any_name(tmp_path):
    odd = tmp_path / "Photos: 100% & more?#é"

    from_url(f"folder:{odd}").mark("ours")

    assert (odd / ".viewer-store").read_text() == "ours"


def test_the_reverse_proxy_is_told_a_location_only_if_it_has_one(tmp_path):
    address = f"folder:{tmp_path}"

    assert from_url(address).handoff(KEY) is None
    assert from_url(address, "/stored/").handoff(KEY) == f"/stored/{KEY}"
    with pytest.raises(ValueError, match="not a key"):
        from_url(address, "/stored").handoff("../secret")


def test_nobody_outside_names_a_backend():
    assert "Folder" not in storage.__all__
    root = Path(storage.__file__).parent.parent
    named = [
        path.relative_to(root)
        for path in root.rglob("*.py")
        if "storage" not in path.relative_to(root).parts[:1]
        and any(f"storage.{name}" in path.read_text() for name in ("folder", "disk", "s3"))
    ]
    assert named == []


WITHOUT_BOTO3 = """
import sys
sys.modules["boto3"] = None
from viewer import commands
from viewer.storage import UnknownStore, from_url
from_url(f"folder:{sys.argv[1]}").mark("ours")
try:
    from_url("s3://bucket")
except UnknownStore as refused:
    print(refused)
"""


def test_whoever_keeps_files_in_a_folder_needs_no_boto3(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_BOTO3, str(tmp_path / "media")],
        capture_output=True, text=True, cwd=Path(storage.__file__).parents[2], check=True,
    )  # fmt: skip

    assert done.stdout == "For s3: the extra s3 must be installed (boto3).\n"


def test_a_stat_has_no_checksum_that_nobody_computed(store, put):
    put(b"crack")

    assert store.stat(KEY) in (Stat(5), Stat(5, hashlib.sha256(b"crack").hexdigest()))
