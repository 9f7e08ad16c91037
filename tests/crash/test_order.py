"""The order of system calls of real processes: on the disk first, said afterwards."""

import contextlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.crash import disks
from tests.support.servers import free_port, wait_until
from viewer.storage.workspace import INCOMING


@pytest.fixture(autouse=True)
def _strace():
    disks.needs_strace()


def test_a_photo_is_on_the_disk_before_it_has_a_name_and_has_a_name_before_its_row_says_so(
    scene, message, tmp_path
):
    """Rows 13 to 20: fsync(part) < link < fsync(folder) < fsync(database)."""
    scene.announced(message(media=scene.photos()))

    calls = _traced(scene, "collect", tmp_path, "trace=fsync,fdatasync,link,linkat")

    placed = _places(calls, r"^link(at)?\(")[0]
    part = _places(calls, rf"^fsync\(\d+<[^>]*/{re.escape(INCOMING)}/[^>]*\.part>")
    folder = _places(calls, r"^fsync\(\d+<[^>]*/messages>")
    database = _places(calls, r"^f(data)?sync\(\d+<[^>]*/viewer\.db[^>]*>")
    assert len(part) == 1
    assert part[0] < placed < folder[0] < database[-1]
    assert scene.rows()[0]["state"] == "stored"


def test_new_folders_are_synced_into_their_parents_before_a_file_lies_in_them(
    scene, message, tmp_path
):
    """Row 18: mkdir and fsync of the parent, level by level."""
    scene.announced(message(media=scene.photos()))

    calls = _traced(scene, "collect", tmp_path, "trace=fsync,mkdir,mkdirat,link,linkat")

    placed = _places(calls, r"^link(at)?\(")[0]
    levels = ["", "2026", "09", "21", "617-555-0123", "messages"][1:]
    for depth in range(len(levels)):
        folder = "/".join([str(scene.media_root), *levels[: depth + 1]])
        parent = str(Path(folder).parent)
        made = _places(calls, rf'^mkdir(at)?\(.*"{re.escape(folder)}"')[0]
        synced = _places(calls, rf"^fsync\(\d+<{re.escape(parent)}>")
        assert any(made < moment < placed for moment in synced), folder


def test_5_a_delivery_is_on_the_disk_before_its_answer_is_on_the_wire(scene, message, tmp_path):
    """Through `viewer web` itself: gunicorn, its worker and its threads."""
    with _gunicorn(scene.settings) as (port, worker):
        wait_until(lambda: scene.post(port, message()) == 204)
        with disks.watched(
            worker(), tmp_path / "strace", "-e", "trace=fsync,fdatasync,sendto,write,sendmsg"
        ):
            scene.post(port, message())

    calls = _read(tmp_path / "strace")
    said = _places(calls, r'^(sendto|write|sendmsg)\(.*"HTTP/1.1 204')
    kept = _places(calls, r"^f(data)?sync\(\d+<[^>]*/viewer\.db-(wal|journal)>.*= 0")
    assert len(said) == 1
    assert kept[0] < said[0]
    assert scene.violations() == []


@contextlib.contextmanager
def _gunicorn(settings):
    """`viewer web` with one worker; its port, and which process its worker is."""
    port = free_port()
    server = subprocess.Popen(
        [sys.executable, "-m", "viewer", "web", "--processes", "1", "--port", str(port)],
        env=os.environ | {name: str(value) for name, value in settings.items()},
    )

    def worker() -> int:
        children = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()
        return int(children[0])

    try:
        yield port, worker
    finally:
        server.terminate()
        server.wait(60)


@pytest.mark.parametrize(
    ("place", "inject", "words"),
    [
        pytest.param("part", "fsync:error=EIO:when=1", "reports errors", id="53-fsync-part-EIO"),
        pytest.param("part", "fsync:error=ENOSPC:when=1", "is full", id="51-fsync-part-ENOSPC"),
        pytest.param("part", "write:error=ENOSPC:when=1", "is full", id="49-51-write-ENOSPC"),
        pytest.param("part", "write:error=EIO:when=1", "reports errors", id="54-write-EIO"),
        pytest.param("part", "write:error=EDQUOT:when=1", "quota", id="63-write-EDQUOT"),
        pytest.param("part", "link,linkat:error=EIO:when=1", "reports errors", id="54-link-EIO"),
        pytest.param("part", "link,linkat:error=ENOSPC:when=1", "is full", id="51-link-ENOSPC"),
        pytest.param("folder", "mkdir,mkdirat:error=ENOSPC:when=1", "is full", id="51-mkdir"),
        pytest.param("folder", "fsync:error=EIO:when=1", "reports errors", id="54-folder-EIO"),
        pytest.param("part", "read:error=EIO:when=1", "reports errors", id="54-read-EIO"),
    ],
)
def test_a_disk_that_fails_once_costs_time_and_never_the_truth(
    place, inject, words, scene, message, tmp_path
):
    """Rows 51, 53, 54: the part is thrown away, the row says why it waits, later all is stored."""
    scene.announced(message(media=scene.photos()))
    path = {
        "part": scene.media_root / INCOMING / "part-1.part",
        "folder": scene.media_root / "2026/09/21/617-555-0123/messages",
    }[place]
    names = inject.partition(":")[0]

    calls = _traced(
        scene, "collect", tmp_path, f"trace={names}", "-e", f"inject={inject}", "-P", str(path)
    )
    [row], broken = scene.rows(), scene.violations()
    parts = list((scene.media_root / INCOMING).glob("*"))
    recovered = scene.recover()

    injected = [call for call in calls if "INJECTED" in call]
    assert len(injected) == 1, calls
    assert (row["state"], broken, parts) == ("pending", [], [])
    assert words in row["problem"]
    assert not calls[calls.index(injected[0]) + 1 :] or "fsync" not in inject  # never tried again
    assert recovered == 0
    assert scene.unsettled() == []


@pytest.mark.parametrize("inject", ["ENOSPC", "EIO"])
def test_51_a_database_that_cannot_be_written_confirms_nothing(inject, scene, message, tmp_path):
    """503: the provider comes again. Also when only the fsync fails."""
    text = message()
    _, body, headers = scene.signed(text)
    base = f"{scene.settings['DATA_DIR']}/viewer.db"
    run = scene.start("receive", paused=True, deliveries=[(body, headers)])
    with disks.watched(
        run.heard(), tmp_path / "strace",
        *("-e", "trace=fsync,fdatasync", "-e", f"inject=fsync,fdatasync:error={inject}:when=1+"),
        *("-P", base, "-P", f"{base}-wal", "-P", f"{base}-journal"),
    ):  # fmt: skip
        run.go()
        said = run.heard()
        run.ended()

    scene.receive(text)  # the disk is well again

    assert said == 503
    assert scene.violations() == []


def _traced(scene, action, folder, *options, **words):
    """What a process of ours asks of the kernel, in its order."""
    run = scene.start(action, paused=True, sabotage=("known-parts",), **words)
    with disks.watched(run.heard(), folder / "strace", "-e", *options):
        run.go()
        assert run.ended() == 0
    return _read(folder / "strace")


def _read(log: Path) -> list[str]:
    """The calls without the process numbers, each whole.

    What is said stands where it began, what is synced where it ended.
    """
    begun: dict[str, str] = {}
    places: dict[str, int] = {}
    calls: list[str] = []
    for line in log.read_text().splitlines():
        pid, _, call = line.partition(" ")
        call = call.strip()
        if call.endswith("<unfinished ...>"):
            beginning = call.removesuffix("<unfinished ...>")
            if call.startswith(("fsync", "fdatasync")):
                begun[pid] = beginning
            else:
                places[pid] = len(calls)
                calls.append(beginning)
        elif resumed := re.match(r"<\.\.\. \w+ resumed>(.*)", call):
            if pid in begun:
                calls.append(begun.pop(pid) + resumed[1])
            elif pid in places:
                calls[places.pop(pid)] += resumed[1]
        elif not call.startswith(("---", "+++")):
            calls.append(call)
    return calls


def test_a_call_that_another_thread_interrupts_is_read_whole(tmp_path):
    log = tmp_path / "strace"
    log.write_text(
        "11 write(9</part>, 8035 <unfinished ...>\n"
        "12 fsync(7</folder> <unfinished ...>\n"
        "11 <... write resumed>) = -1 ENOSPC (INJECTED)\n"
        "13 link(1, 2) = 0\n"
        "12 <... fsync resumed>) = 0\n"
    )

    assert _read(log) == [
        "write(9</part>, 8035 ) = -1 ENOSPC (INJECTED)",
        "link(1, 2) = 0",
        "fsync(7</folder> ) = 0",
    ]


def _places(calls: list[str], pattern: str) -> list[int]:
    found = [number for number, call in enumerate(calls) if re.search(pattern, call)]
    assert found, f"{pattern} is not among {calls}"
    return found
