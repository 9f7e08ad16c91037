"""Addresses that open one object for two windows of time, and that stay the same within one."""

import time
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl, urlsplit

import boto3
import pytest
import requests
import time_machine
from botocore.auth import S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotoCredentials

from tests.support.fault_proxy import frozen
from tests.support.object_stores import CREDENTIALS
from viewer.storage import Credentials, from_url
from viewer.storage.s3.address import S3Address
from viewer.storage.s3.client import Server
from viewer.storage.s3.signing import Signer, seconds_left

HOUR = 3600
KEY = "2025/01/15/617-555-0123/messages/1736977200_photo.jpg"
PHOTO = b"\xff\xd8 a crack"
OVERRIDES = {
    "response-content-type": "image/jpeg",
    "response-content-disposition": 'inline; filename="2025-01-15_617-555-0123.jpg"',
    "response-cache-control": "private, max-age=86400, immutable",
}
MIDNIGHT = datetime(2026, 11, 27, tzinfo=UTC)


def parts(url: str) -> tuple[str, str, dict[str, str]]:
    found = urlsplit(url)
    return found.netloc, found.path, dict(parse_qsl(found.query, strict_parsing=True))


@pytest.mark.parametrize("token", [None, "a/session+token=="])
@pytest.mark.parametrize("overrides", [{}, OVERRIDES])
@pytest.mark.parametrize(
    "base", ["https://photos.s3.eu-central-1.amazonaws.com/", "http://127.0.0.1:8333/photos/"]
)
def test_an_address_is_the_one_that_botocore_signs_at_the_start_of_the_window(
    base, overrides, token
):
    signer = Signer(base, "eu-central-1", "AKID", "a secret/+", token)
    request = AWSRequest(method="GET", url=base + KEY, params=overrides)
    key = BotoCredentials("AKID", "a secret/+", token)

    with time_machine.travel(MIDNIGHT, tick=False):
        S3SigV4QueryAuth(key, "s3", "eu-central-1", expires=48 * HOUR).add_auth(request)
    with time_machine.travel(MIDNIGHT + timedelta(hours=23, minutes=59), tick=False):
        ours = signer.sign(KEY, 24 * HOUR, overrides)

    assert parts(ours) == parts(request.url)
    assert len(parts(ours)[2]["X-Amz-Signature"]) == 64


@pytest.mark.parametrize(
    ("address", "base", "region"),
    [
        ("s3://photos?region=eu-west-1", "https://photos.s3.eu-west-1.amazonaws.com/", "eu-west-1"),
        (
            "s3://photos?region=eu-west-1&style=path",
            "https://s3.eu-west-1.amazonaws.com/photos/",
            "eu-west-1",
        ),
        (
            "s3://photos/viewer?endpoint=https://s3.example:443&region=auto",
            "https://s3.example/photos/",
            "auto",
        ),
        (
            "s3://photos?endpoint=https://s3.example:8443&region=x&style=virtual",
            "https://photos.s3.example:8443/",
            "x",
        ),
    ],
)
def test_the_server_and_the_region_are_those_of_the_client(address, base, region):
    signer = Server(S3Address.read(address), Credentials("AKID", "secret")).signer()

    assert (signer.base, signer.region) == (base, region)


def test_without_a_key_of_ours_the_credentials_are_those_of_the_client(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKID")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "token")
    session = boto3.session.Session()
    monkeypatch.setattr("viewer.storage.s3.client._session", lambda: session)

    signer = Server(S3Address.read("s3://photos?region=eu-west-1"), None).signer()

    assert (signer.access_key_id, signer.secret_access_key) == ("AKID", "secret")
    assert signer.session_token == "token"


def test_it_is_the_same_within_a_window_and_another_after_it():
    signer = Signer("https://s3.example/photos/", "auto", "AKID", "secret")

    def at(**after: float) -> str:
        with time_machine.travel(MIDNIGHT + timedelta(**after), tick=False):
            return signer.sign(KEY, 6 * HOUR)

    assert at(hours=0) == at(hours=3) == at(hours=5, minutes=59, seconds=59)
    assert at(hours=6) != at(hours=0)
    assert at(hours=6) == at(hours=11)
    assert at(hours=6, minutes=1) != at(seconds=-1)


def test_no_address_is_good_for_longer_than_s3_allows():
    signer = Signer("https://s3.example/photos/", "auto", "AKID", "secret")

    assert parts(signer.sign(KEY, 84 * HOUR))[2]["X-Amz-Expires"] == "604800"
    assert parts(signer.sign(KEY, 1000 * HOUR))[2]["X-Amz-Expires"] == "604800"


def test_how_long_a_window_lasts():
    with time_machine.travel(MIDNIGHT + timedelta(hours=5, minutes=59), tick=False):
        assert seconds_left(6 * HOUR) == 60
    with time_machine.travel(MIDNIGHT + timedelta(hours=6), tick=False):
        assert seconds_left(6 * HOUR) == 6 * HOUR


@pytest.fixture
def kept(connect, part):
    store = connect(direct=True)
    store.mark("ours")
    store.expect("ours")
    store.place(KEY, part(PHOTO))
    return store


def test_k24_a_server_opens_it_in_its_window_and_in_the_next_and_never_after(kept):
    def given_at(**ago: float) -> requests.Response:
        with time_machine.travel(datetime.now(UTC) - timedelta(**ago), tick=False):
            address = kept.signed_address(KEY, OVERRIDES)
        return requests.get(address, timeout=30)

    now, last_window, before = given_at(), given_at(hours=24), given_at(hours=48)

    assert [(a.status_code, a.content) for a in (now, last_window)] == [(200, PHOTO)] * 2
    for answer in (now, last_window):
        assert answer.headers["Content-Type"] == "image/jpeg"
        assert answer.headers["Content-Disposition"] == OVERRIDES["response-content-disposition"]
        assert answer.headers["Cache-Control"] == OVERRIDES["response-cache-control"]
    assert before.status_code == 403
    assert PHOTO not in before.content


def test_an_address_opens_nothing_else(kept, part):
    other = KEY.replace("photo", "other")
    kept.place(other, part(b"another"))
    address = kept.signed_address(KEY, OVERRIDES)

    refused = [
        requests.get(one, timeout=30).status_code
        for one in (
            address.replace("photo.jpg", "other.jpg"),
            address.replace("image%2Fjpeg", "text%2Fhtml"),
            address.replace("X-Amz-Expires=172800", "X-Amz-Expires=604800"),
            address.partition("?")[0],
        )
    ]
    put = requests.put(address, data=b"x", timeout=30)

    assert refused == [403] * 4
    assert put.status_code == 403
    assert requests.get(address, timeout=30).content == PHOTO


def test_what_nginx_is_told_is_such_an_address_without_its_server(
    object_store, shared_bucket, kept, prefix
):
    url = object_store.address(shared_bucket, prefix)
    store = from_url(url, "/.object/", CREDENTIALS)

    location = store.handoff(KEY)

    assert location is not None
    assert location.startswith(f"/.object/{shared_bucket}/{prefix}/{KEY}?X-Amz-Algorithm=")
    signed = object_store.endpoint + location.removeprefix("/.object")
    assert requests.get(signed, timeout=30).content == PHOTO
    assert from_url(url, "", CREDENTIALS).handoff(KEY) is None
    with pytest.raises(ValueError, match="not a key"):
        store.handoff("../secret")


def test_a_size_is_asked_once_and_a_silent_server_costs_little(connect, proxy, part):
    connect(direct=True).mark("ours")
    store = connect()
    store.expect("ours")
    store.place(KEY, part(PHOTO))
    asked = proxy.count("HEAD")

    assert {store.glance(KEY) for _ in range(5)} == {len(PHOTO)}
    assert proxy.count("HEAD") == asked + 1

    proxy.always("HEAD", frozen)
    begun = time.monotonic()
    assert {store.glance(KEY.replace("photo", "other")) for _ in range(20)} == {None}
    assert time.monotonic() - begun < 10
    assert proxy.count("HEAD") == asked + 2
    assert store.glance(KEY) == len(PHOTO)
