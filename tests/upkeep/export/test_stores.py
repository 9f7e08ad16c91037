"""The address of an original is the one that other programs take."""

import pytest

from tests.support import factories, object_stores
from tests.support.pictures import picture
from tests.support.stored_files import keep
from viewer import holdings, storage
from viewer.extensions import db
from viewer.models import RegisteredStore
from viewer.upkeep import move


@pytest.mark.parametrize(
    ("store", "host", "url"),
    [
        ("/srv/photos", None, "file:///srv/photos/2026/a.jpg"),
        ("/srv/our photos", None, "file:///srv/our%20photos/2026/a.jpg"),
        ("/srv/photos", "second", "file://second/srv/photos/2026/a.jpg"),
        ("s3://cracks?region=eu-central-1", None, "s3://cracks/2026/a.jpg"),
        ("s3://cracks/viewer?endpoint=https://s3.example", None, "s3://cracks/viewer/2026/a.jpg"),
    ],
)
def test_addresses(store, host, url):
    assert storage.file_url(store, "2026/a.jpg", host) == url


def test_another_hosts_folder_is_named_with_the_host(run):
    store = RegisteredStore(host="second", address="/srv/photos")
    db.session.add(store)
    db.session.commit()
    factories.photos(factories.customer())[0].storage = store.id

    [line] = run()

    assert line["address"] == f"file://second/srv/photos/{line['key']}"


@pytest.mark.proof
def test_originals_in_a_bucket_are_found_by_their_address(
    settings, object_store, request, monkeypatch
):
    settings |= object_stores.SETTINGS
    run = request.getfixturevalue("run")
    bucket = object_store.new_bucket()
    content = picture(120, 80)
    keep(content)
    db.session.commit()
    target = move.find(object_store.address(bucket, "photos"))
    move.take(target)
    move.Move(target, 1, move.Pace(None)).run(lambda _files, _size: None)
    here = keep(b"not pushed yet", storage=holdings.own_id())

    found = {line["id"]: line["address"] for line in run()}

    assert found.pop(str(here.id)).startswith("file:///")
    [address] = found.values()
    place, _, key = address.removeprefix("s3://").partition("/")
    assert place == bucket
    assert object_store.client.get_object(Bucket=place, Key=key)["Body"].read() == content
