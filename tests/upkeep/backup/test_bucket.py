"""A bucket as a target: probed, never that of a store, and good although nothing can be deleted."""

import json
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from flask import Flask

from tests.crash import disks
from tests.support import object_stores, stored_files
from tests.support.fault_proxy import FaultProxy, refusal
from tests.support.object_stores import CREDENTIALS, ObjectStore
from tests.support.pictures import noise
from tests.upkeep.backup.conftest import (
    At,
    checked_by_sha256sum,
    hash_of,
    losses,
    newest,
    overwrite,
)
from tests.upkeep.backup.kinds import InBucket
from viewer import holdings
from viewer.extensions import db
from viewer.models import RegisteredStore
from viewer.storage import from_url
from viewer.upkeep.backup import record, retention
from viewer.upkeep.backup.run import Result
from viewer.upkeep.backup.targets import bucket_place


@pytest.fixture
def settings(settings):
    key = object_stores.SETTINGS
    return settings | key | {f"BACKUP_{name}": value for name, value in key.items()}


@pytest.fixture
def bucket(object_store: ObjectStore, tmp_path: Path) -> InBucket:
    """Of this test alone, with nothing in it yet."""
    return InBucket(object_store, object_store.new_bucket(), "backup", tmp_path / "mirror")


@pytest.fixture
def proxy(object_store: ObjectStore, bucket: InBucket) -> Iterator[FaultProxy]:
    """In front of the bucket, from now on."""
    with FaultProxy(object_store.port) as proxy:
        bucket.port = proxy.port
        yield proxy


@pytest.fixture
def back_up(app: Flask, bucket: InBucket) -> Callable[..., Result]:
    return lambda **words: record.back_up(bucket.url, **words)


@pytest.fixture
def store(app: Flask, object_store: ObjectStore) -> Callable[..., RegisteredStore]:
    """A store in this bucket that this database knows."""

    def register(bucket: str, prefix: str = "originals") -> RegisteredStore:
        known = RegisteredStore(
            kind=RegisteredStore.Kind.S3, address=object_store.address(bucket, prefix)
        )
        db.session.add(known)
        db.session.commit()
        from_url(known.address or "", credentials=CREDENTIALS).mark(str(known.id))
        return known

    return register


# --- Which bucket --------------------------------------------------------------------------


def test_k36_the_bucket_of_a_store_is_refused_whatever_is_said(keep, back_up, bucket, store):
    keep()
    store(bucket.bucket)

    result = back_up(same_filesystem=True)

    assert result.has_failed
    assert "is in the bucket of a store" in result.words
    assert bucket.names() == []


def test_k36_so_is_one_that_the_store_knows_by_another_name_of_its_server(
    keep, back_up, bucket, store, proxy
):
    keep()
    store(bucket.bucket)

    result = back_up()

    assert "is in the bucket of a store" in result.words
    assert bucket.names() == []


@pytest.mark.parametrize(
    ("ours", "theirs", "is_same"),
    [
        ("", "endpoint=https://s3.eu-west-1.amazonaws.com", True),
        ("region=eu-west-1", "region=us-east-1", True),
        ("endpoint=https://s3.example", "endpoint=https://S3.example:443/", True),
        ("endpoint=https://s3.example", "endpoint=http://s3.example", False),
        ("endpoint=https://s3.example", "", False),
    ],
)
def test_k36_one_bucket_is_known_in_all_spellings_of_its_address(ours, theirs, is_same, app):
    db.session.add(
        RegisteredStore(kind=RegisteredStore.Kind.S3, address=f"s3://photos/a?{theirs}".rstrip("?"))
    )
    db.session.commit()
    url = f"s3://photos/b?{ours}".rstrip("?")
    place = bucket_place.BucketPlace(url, from_url(url))

    try:
        place.check(same_filesystem=False)
        found = False
    except bucket_place.Refused:
        found = True

    assert found is is_same


def test_k50_originals_that_are_in_a_bucket_are_backed_up_to_a_folder(
    keep, place, store, object_store
):
    known = store(object_store.new_bucket())
    media = keep(b"in the bucket alone", storage=known.id)
    stored_files.place(
        b"in the bucket alone", media.file_path, holdings.spool(), holdings.store(known.id)
    )
    holdings.own().remove(media.file_path)

    result = record.back_up(str(place), same_filesystem=True)

    assert (result.is_good, result.counts["copied"]) == (True, 1)
    assert hash_of(place / "media" / media.file_path) == media.sha256
    assert losses(place, newest(place)) == []
    checked_by_sha256sum(place)


@pytest.mark.proof
def test_k50_and_to_another_bucket(keep, back_up, bucket, store, object_store):
    known = store(object_store.new_bucket())
    media = keep(b"in the bucket alone", storage=known.id)
    stored_files.place(
        b"in the bucket alone", media.file_path, holdings.spool(), holdings.store(known.id)
    )
    holdings.own().remove(media.file_path)

    assert back_up().is_good
    there = bucket.mirror()
    assert losses(there, newest(there)) == []


# --- Whether it can be trusted -------------------------------------------------------------


def test_a_service_that_overwrites_is_refused_before_anything_is_written(keep, app, tmp_path):
    keep()
    with object_stores.running_rclone() as rclone:
        bucket = InBucket(rclone, rclone.new_bucket(), "backup", tmp_path / "mirror")

        result = record.back_up(bucket.url)

        assert result.has_failed
        assert "would overwrite files" in result.words
        assert bucket.names() == []


@pytest.mark.proof
def test_it_is_probed_at_first_and_once_a_day(keep, back_up, bucket, proxy):
    keep()
    probes = []
    for _ in range(2):
        proxy.requests.clear()
        assert back_up().is_good
        probes.append(sum("/probe/" in one.path for one in proxy.requests) > 0)
    yesterday = "UPDATE upkeep_runs SET started_at = '2026-01-01 00:00:00'"
    db.session.connection().exec_driver_sql(yesterday)
    db.session.commit()
    proxy.requests.clear()
    assert back_up().is_good
    probes.append(sum("/probe/" in one.path for one in proxy.requests) > 0)

    assert probes == [True, False, True]
    assert not [key for key in bucket.names() if key.startswith("probe/")]


@pytest.mark.proof
def test_nothing_stays_on_this_hosts_disk(keep, back_up, app):
    keep()
    assert back_up().is_good

    spool = app.config["SETTINGS"].data_dir / "backup-spool"
    assert [path for path in spool.rglob("*") if path.is_file()] == []


@pytest.mark.proof
def test_the_copy_of_a_killed_run_is_cleared_from_this_hosts_disk(keep, back_up, app):
    keep()
    assert back_up().is_good
    [folder] = (app.config["SETTINGS"].data_dir / "backup-spool").iterdir()
    left = folder / ".incoming" / str(uuid.uuid4())
    left.mkdir()
    (left / "database.sqlite3").write_bytes(b"customers' messages")

    assert back_up().is_good
    assert not left.exists()


@pytest.mark.proof
def test_a_copy_of_the_database_never_fills_this_hosts_disk(keep, back_up, bucket, stack, settings):
    disks.needs_mounts()
    stack.enter_context(disks.tmpfs(settings["DATA_DIR"], "size=1m"))
    keep()

    result = back_up()

    assert not result.is_good
    assert "backup-spool has room for 1.0 MB: too little for a copy" in result.words
    assert bucket.names() == [".viewer-backup"]


def test_without_an_access_key_the_setting_is_named(keep, app, settings, bucket):
    settings = app.config["SETTINGS"]
    empty = type(settings.BACKUP_S3_ACCESS_KEY_ID)("")
    app.config["SETTINGS"] = settings.model_copy(
        update={"BACKUP_S3_ACCESS_KEY_ID": empty, "BACKUP_S3_SECRET_ACCESS_KEY": empty}
    )

    assert "set BACKUP_S3_ACCESS_KEY_ID and BACKUP_S3_SECRET" in record.back_up(bucket.url).words


def test_a_bucket_that_does_not_exist_is_told(keep, app, object_store, tmp_path):
    keep()
    nowhere = InBucket(object_store, "no-such-bucket", "backup", tmp_path)

    assert "The bucket for backups does not exist." in record.back_up(nowhere.url).words


@pytest.mark.proof
def test_a_service_that_goes_away_in_the_middle_makes_the_run_bad_and_the_next_one_good(
    keep, back_up, proxy
):
    keep()
    assert back_up().is_good
    keep(b"new")
    refuse = refusal(403, "AccessDenied")

    result = back_up(progress=At("copying", lambda: proxy.always("PUT", refuse)))
    proxy.always("PUT", lambda exchange: exchange.wire.send(exchange.pass_on()))

    assert not result.is_good
    assert result.words == "The target failed: The object store denies us access (AccessDenied)."
    assert back_up().is_good


# --- Nothing can be deleted ----------------------------------------------------------------


@pytest.fixture
def deny_deletes(object_store: ObjectStore, bucket: InBucket) -> Callable[[], None]:
    """From now on the bucket's policy lets nobody delete."""
    rule = {
        "Effect": "Deny",
        "Principal": "*",
        "Action": ["s3:DeleteObject"],
        "Resource": [f"arn:aws:s3:::{bucket.bucket}/*"],
    }
    policy = json.dumps({"Version": "2012-10-17", "Statement": [rule]})
    return lambda: object_store.client.put_bucket_policy(Bucket=bucket.bucket, Policy=policy)


@pytest.mark.proof
def test_k46_a_bucket_that_denies_deletes_is_good_from_the_first_run_and_not_pruned(
    keep, back_up, bucket, deny_deletes, monkeypatch
):
    monkeypatch.setattr(retention, "RULES", ())
    deny_deletes()
    keep()
    results = [back_up() for _ in range(5)]
    there = bucket.mirror()

    assert [one.is_good for one in results] == [True] * 5
    assert "Not pruned here" in results[-1].words
    assert len(list((there / "snapshots").iterdir())) == 5
    assert losses(there, newest(there)) == []
    checked_by_sha256sum(there)


def test_k46_a_thumbnail_that_was_made_anew_stays_as_it_was(app, back_up, bucket, deny_deletes):
    media = stored_files.keep(noise(300, 200, 50), with_copies=True)
    assert back_up().is_good
    thumbnail = app.config["SETTINGS"].media_root / media.thumbnail_path
    before = hash_of(thumbnail)
    deny_deletes()

    overwrite(thumbnail, b"made by a newer version")
    result = back_up()

    assert (result.is_good, result.counts["derivatives"]) == (True, 0)
    assert hash_of(bucket.mirror() / "media" / media.thumbnail_path) == before


@pytest.mark.proof
@pytest.mark.parametrize("wrong", [b"wrong", b"of another size"])
def test_k46_a_wrong_file_that_cannot_be_replaced_makes_the_run_bad_and_is_named(
    wrong, keep, back_up, bucket, deny_deletes
):
    media, other = keep(b"right"), keep(b"right, too")
    assert back_up().is_good
    bucket.overwrite(f"media/{media.file_path}", wrong)
    there = bucket.mirror()
    for path in there.glob("snapshots/*/*"):  # so that the next run trusts nothing unread
        bucket.remove(str(path.relative_to(there)))
    deny_deletes()

    result = back_up()

    assert not result.is_good
    assert f"1 file not right in the target: {media.file_path}." in result.words
    assert hash_of(bucket.mirror() / "media" / other.file_path) == other.sha256


@pytest.mark.proof
def test_k46_a_damaged_snapshot_that_cannot_be_set_aside_is_told_and_the_next_one_is_made(
    keep, back_up, bucket, deny_deletes
):
    keep()
    assert back_up().is_good
    there = bucket.mirror()
    database = newest(there) / "database.sqlite3"
    bucket.overwrite(str(database.relative_to(there)), database.read_bytes()[:-4096])
    deny_deletes()

    result = back_up()
    there = bucket.mirror()

    assert not result.is_good
    assert "is damaged in the target: Its database.sqlite3 has" in result.words
    assert newest(there).name.startswith("000002-")
    assert (newest(there) / "verified.json").exists()
