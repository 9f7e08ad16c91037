"""A repository of restic as a target: compared with the database's list, whatever restic says."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from flask import Flask

from tests.upkeep.backup.conftest import checked_by_sha256sum, hash_of, losses, newest
from tests.upkeep.backup.kinds import password as password
from tests.upkeep.backup.kinds import repository as repository
from tests.upkeep.backup.kinds import restic
from viewer.extensions import db
from viewer.models import RegisteredStore
from viewer.storage import UnknownStore
from viewer.upkeep.backup import record
from viewer.upkeep.backup.result import Result
from viewer.upkeep.backup.snapshots import find_all
from viewer.upkeep.backup.targets import target as targets

pytestmark = pytest.mark.proof


@pytest.fixture
def settings(settings, password):
    return settings | {"RESTIC_PASSWORD_FILE": password}


@pytest.fixture
def back_up(app: Flask, repository: Path) -> Callable[..., Result]:
    return lambda **words: record.back_up(
        f"restic:{repository}", **{"same_filesystem": True, **words}
    )


@pytest.fixture
def replace_restic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Put a script in front of restic; it ends with the real one."""
    real, front = shutil.which("restic"), tmp_path / "bin"

    def replace(script: str) -> None:
        front.mkdir()
        (front / "restic").write_text(f'#!/bin/sh\nrestic={real}\n{script}\nexec $restic "$@"\n')
        (front / "restic").chmod(0o755)
        monkeypatch.setenv("PATH", f"{front}:{os.environ['PATH']}")

    return replace


def test_what_restic_restores_is_a_folder_with_every_original_and_the_database(
    keep, back_up, repository, password, tmp_path
):
    kept = [keep(f"photo {number}".encode()) for number in range(3)]
    assert back_up().is_good
    kept.append(keep(b"later"))

    result = back_up()
    out = tmp_path / "out"
    restic(repository, password, "restore", "latest", f"--target={out}")
    (out / str(tmp_path / "photos").lstrip("/")).rename(out / "media")

    assert (result.is_good, result.snapshot, result.counts["files"]) == (True, 2, 4)
    assert result.words.startswith(f"Snapshot 2 ({result.counts['restic']}): 4 originals")
    assert result.counts["snapshots"] == 2
    [one] = find_all(targets.open_target(str(out))).complete
    assert one.number == 2
    assert losses(out, newest(out)) == []
    checked_by_sha256sum(out)
    assert hash_of(out / "media" / kept[-1].file_path) == kept[-1].sha256


def test_nothing_stays_on_this_hosts_disk_but_restics_cache(keep, back_up, tmp_path):
    keep()
    assert back_up().is_good

    left = [path.name for path in (tmp_path / "data" / "backup-spool").iterdir()]
    assert left == ["restic-cache"]


def test_k49_a_file_that_restic_left_out_with_status_0_makes_the_run_bad(
    keep, back_up, replace_restic
):
    keep(b"there")
    lost = keep(b"left out")
    name = Path(lost.file_path).name
    replace_restic(f'case "$*" in *" backup "*) set -- "$@" "--exclude=*/{name}";; esac')

    result = back_up()

    assert not result.is_good
    assert f"1 file not right in the target: {lost.file_path}." in result.words


def test_k49_so_does_a_media_folder_that_was_not_there(keep, back_up, replace_restic, tmp_path):
    """restic 0.14 ends with 0."""
    media, photos = keep(), tmp_path / "photos"
    replace_restic(
        f'case "$*" in *" backup "*) mv {photos} {photos}.away; $restic "$@"; status=$?;'
        f" mv {photos}.away {photos}; exit $status;; esac"
    )

    result = back_up()

    assert not result.is_good
    assert f"1 file not right in the target: {media.file_path}." in result.words


def test_k43_a_flipped_bit_in_the_repository_makes_the_run_bad(keep, back_up, repository):
    keep(os.urandom(100_000))
    assert back_up().is_good
    pack = max((repository / "data").glob("*/*"), key=lambda path: path.stat().st_size)
    content = bytearray(pack.read_bytes())
    content[len(content) // 2] ^= 1
    pack.chmod(0o600)
    pack.write_bytes(content)

    result = back_up()

    assert not result.is_good
    assert "not right in the target" in result.words


def test_an_original_that_is_gone_makes_the_run_bad_and_is_named(keep, back_up, tmp_path):
    keep(b"there")
    gone = keep(b"gone")
    (tmp_path / "photos" / gone.file_path).unlink()

    result = back_up()

    assert not result.is_good
    assert f"1 original not as they came, and not in the backup: {gone.file_path}." in result.words
    assert back_up(accept_changes=True).is_good


def test_originals_in_another_store_are_refused(keep, back_up):
    other = RegisteredStore(kind=RegisteredStore.Kind.S3, address="s3://photos")
    db.session.add(other)
    db.session.commit()
    keep(storage=other.id)

    assert "which restic would not back up" in back_up().words


def test_k36_a_repository_beside_the_originals_on_one_disk_is_refused(keep, back_up):
    keep()

    assert "is on the same file system as" in back_up(same_filesystem=False).words


def test_k36_a_repository_that_is_not_there_is_made_by_nobody(keep, back_up, repository, tmp_path):
    keep()
    repository.rename(tmp_path / "unmounted")

    result = back_up()

    assert result.has_failed
    assert "A new one is made by restic init." in result.words
    assert not repository.exists()


def test_a_wrong_password_is_told_and_a_missing_one_names_the_setting(keep, back_up, password, app):
    keep()
    password.write_text("wrong")
    assert "wrong password" in back_up().words

    found = app.config["SETTINGS"]
    app.config["SETTINGS"] = found.model_copy(update={"RESTIC_PASSWORD_FILE": None})
    assert "needs RESTIC_PASSWORD_FILE" in back_up().words


def test_an_old_restic_is_refused(keep, back_up, replace_restic):
    keep()
    replace_restic('[ "$1" = version ] && echo restic 0.9.6 compiled && exit 0')

    assert "restic 0.14 or newer is needed" in back_up().words


@pytest.mark.parametrize("url", ["restic:", "restic:rest:https://user:secret@nas/", "restic:a b"])
def test_an_address_without_a_repository_or_with_a_password_is_refused(url, app):
    with pytest.raises(UnknownStore) as refused:
        record.back_up(url)

    assert "secret" not in str(refused.value)


def test_reading_and_pruning_it_are_restics_business(app, back_up, repository):
    with pytest.raises(targets.Refused, match="by restic itself"):
        record.prune_only(f"restic:{repository}")
