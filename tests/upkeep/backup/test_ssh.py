"""Another host as a target: it may be this one, unknown, frozen, full, or say "done" and lie."""

from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from flask import Flask

from tests.crash import disks
from tests.support.ssh_hosts import SSHHost
from tests.upkeep.backup.conftest import At, checked_by_sha256sum, hash_of, losses, newest
from viewer.storage import SSHAddress, UnknownStore
from viewer.storage.ssh import shell
from viewer.upkeep.backup import record
from viewer.upkeep.backup.run import Result


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("ssh://user:secret@nas/srv", "must not hold a password"),
        ("ssh://-oProxyCommand=x/srv", "names no host"),
        ("ssh://-l@nas/srv", "has a user"),
        ("ssh://nas", "names no plain, absolute path"),
        ("ssh://nas/srv/$(reboot)", "names no plain, absolute path"),
        ("ssh://nas/srv/../etc", "names no plain, absolute path"),
        ("ssh://nas/srv?x", "must not contain"),
        ("ssh://nas:port/srv", "is not an address"),
    ],
)
def test_an_address_with_anything_but_a_plain_folder_is_refused(url, words):
    with pytest.raises(UnknownStore, match=words) as refused:
        SSHAddress.read(url)

    assert "secret" not in str(refused.value)


def test_an_address_is_said_in_one_way():
    for url in ("ssh://backup@nas.lan:2222/srv/viewer", "ssh://nas/srv"):
        assert str(SSHAddress.read(f"{url}/")) == url


# --- With a real server --------------------------------------------------------------------


@pytest.fixture
def settings(settings, ssh_host):
    return settings | {"BACKUP_SSH_CONFIG": ssh_host.config}


@pytest.fixture
def back_up(app: Flask, ssh_host: SSHHost, place: Path) -> Callable[..., Result]:
    return lambda to=place, **words: record.back_up(
        ssh_host.url(to), **{"same_filesystem": True, **words}
    )


@pytest.fixture
def replace_program(ssh_host: SSHHost) -> Iterator[Callable[[str, str], None]]:
    """Put a script in the place of a program of that host."""
    made = []

    def replace(name: str, script: str) -> None:
        path = ssh_host.programs / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        made.append(path)

    yield replace
    for path in made:
        path.unlink()


@pytest.mark.proof
def test_k36_this_host_by_another_name_is_refused_beside_the_originals(keep, back_up, place):
    keep()
    result = back_up(same_filesystem=False)

    assert result.has_failed
    assert "is on the same file system as" in result.words
    assert not place.exists()


@pytest.mark.proof
def test_another_disk_of_this_host_needs_no_permission(keep, back_up, stack):
    disks.needs_mounts()
    disk = disks.Disk(stack, "24M").path / "backup"
    keep()

    assert back_up(disk, same_filesystem=False).is_good
    assert losses(disk, newest(disk)) == []
    checked_by_sha256sum(disk)


@pytest.mark.proof
def test_a_host_that_nobody_made_known_is_refused(keep, ssh_host, place, app):
    keep()
    unknown = ssh_host.url(place).replace("127.0.0.1", "localhost")

    assert "Host key verification failed" in record.back_up(unknown).words
    assert not place.exists()


@pytest.mark.proof
def test_a_host_without_a_program_that_we_need_is_refused_by_name(
    keep, back_up, place, replace_program
):
    keep()
    replace_program("find", "exit 1")

    result = back_up()

    assert result.has_failed
    assert "lacks GNU's find -printf" in result.words
    assert not place.exists()


@pytest.mark.proof
def test_k49_a_host_that_says_done_with_a_file_missing_makes_the_run_bad(
    keep, back_up, place, replace_program
):
    media = keep(b"right")
    assert back_up().is_good
    lost = keep(b"never arrives")
    replace_program("ln", f'case "$2" in *{lost.file_path}) exit 0;; esac; exec /bin/ln "$@"')

    result = back_up()

    assert not result.is_good
    assert f"1 file not right in the target: {lost.file_path}." in result.words
    assert hash_of(place / "media" / media.file_path) == media.sha256


@pytest.mark.proof
def test_bytes_that_change_on_their_way_get_no_name(keep, back_up, place, replace_program):
    keep()
    assert back_up().is_good
    media = keep(b"to be damaged")
    replace_program("cat", '[ -n "$1" ] && exec /bin/cat "$@"; /bin/cat | tr d D')

    result = back_up()

    assert result.words == "The target failed: The bytes were damaged on their way."
    assert not (place / "media" / media.file_path).exists()


@pytest.mark.proof
def test_a_connection_that_breaks_in_the_middle_makes_the_run_bad_and_the_next_one_good(
    keep, back_up, ssh_host, replace_program
):
    keep()
    assert back_up().is_good
    keep(b"new")
    replace_program("sha256sum", f"kill {_server(ssh_host).children()[0].pid}; sleep 60")

    result = back_up(progress=At("copying", lambda: None))
    (ssh_host.programs / "sha256sum").write_text('#!/bin/sh\nexec /usr/bin/sha256sum "$@"\n')

    assert not result.is_good
    assert "cannot be reached over ssh" in result.words
    assert back_up().is_good


@pytest.mark.proof
def test_a_host_that_freezes_holds_the_run_no_longer_than_its_deadline(
    keep, back_up, ssh_host, monkeypatch
):
    monkeypatch.setattr(shell, "CALL", 2)
    keep()
    assert back_up().is_good
    keep(b"new")
    frozen = _server(ssh_host).children(recursive=True)

    def freeze() -> None:
        for process in frozen:
            process.suspend()

    try:
        result = back_up(progress=At("copying", freeze))
    finally:
        for process in frozen:
            process.resume()

    assert not result.is_good
    assert "does not answer in time" in result.words


@pytest.mark.proof
def test_k36_a_target_that_is_full_says_so(keep, back_up, stack):
    disks.needs_mounts()
    disk = disks.Disk(stack, "24M").path / "backup"
    keep(b"first")
    assert back_up(disk, same_filesystem=False).is_good
    keep(bytes(3_000_000))

    def fill() -> None:
        with pytest.raises(OSError), (disk.parent / "filler").open("wb") as filler:
            filler.write(bytes(64_000_000))

    result = back_up(disk, same_filesystem=False, progress=At("copying", fill))

    assert "No space left on device" in result.words


@pytest.mark.proof
def test_a_first_run_that_died_as_it_wrote_the_marker_does_not_bar_the_place(keep, back_up, place):
    keep()
    place.mkdir()
    (place / ".viewer-backup.new").write_text("target of")

    assert back_up().is_good
    assert not (place / ".viewer-backup.new").exists()


@pytest.mark.proof
def test_nothing_half_written_stays_over_there(keep, back_up, place):
    keep()
    assert back_up().is_good
    left = place / ".incoming" / "of-a-dead-run"
    left.write_bytes(b"customers' messages")

    assert back_up().is_good
    assert list((place / ".incoming").iterdir()) == []


def _server(host: SSHHost) -> psutil.Process:
    """The server's own process."""
    [found] = [
        one.pid
        for one in psutil.net_connections("tcp")
        if one.status == psutil.CONN_LISTEN and one.laddr.port == host.port
    ]
    return psutil.Process(found)
