"""deploy/nginx/cdn.conf: a second nginx as the CDN before a bucket, without any key of ours."""

import os
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import requests
import time_machine

from tests.deploy.conftest import HOST
from tests.support import object_stores
from tests.support.fault_proxy import FaultProxy
from tests.support.pictures import picture
from tests.support.servers import wait_until
from tests.support.stored_files import bucket, keep_only_in
from viewer import create_app
from viewer.extensions import db
from viewer.web.media import elsewhere

pytestmark = pytest.mark.proof  # real servers

SHOWN: Any = {"REQUEST_METHOD": "GET", "HTTP_SEC_FETCH_DEST": "image"}
PHOTO = b"\xff\xd8\xff\xe0" + os.urandom(1_500_000)


@pytest.fixture
def settings(settings: dict[str, Any]) -> dict[str, Any]:
    return settings | object_stores.SETTINGS


def test_k24_a_cdn_serves_what_was_signed_for_the_bucket_and_nothing_else(
    app, settings, object_store, shared_bucket, start_site, tmp_path
):
    folder = tmp_path / "cdn"
    folder.mkdir()
    with FaultProxy(object_store.port) as proxy:
        port = start_site(
            folder,
            "cdn.conf",
            ("https://$object_server", "http://$object_server"),
            ("s3.eu-central-1.amazonaws.com;", f"127.0.0.1:{proxy.port};"),
        )
        cdn = f"https://{HOST}:{port}"
        wait_until(lambda: answers(cdn))
        store = bucket(object_store.address(shared_bucket, f"cdn/{uuid.uuid4()}", proxy.port))
        media = keep_only_in(store, PHOTO, picture(48, 32))
        viewer = create_app(settings | {"MEDIA_REDIRECT": True, "CDN_URL": cdn})

        def address(**ago: float) -> str:
            with (
                viewer.app_context(),
                time_machine.travel(datetime.now(UTC) - timedelta(**ago)),
            ):
                led = elsewhere.redirection(media, media.file_path, "image/jpeg", "inline", SHOWN)
            assert led is not None
            return led["Location"]

        present, last, before = address(), address(hours=24), address(hours=48)
        first = requests.get(present, timeout=30)
        asked = proxy.count("GET")
        again = requests.get(present, timeout=30)
        part = requests.get(present, headers={"Range": "bytes=-500"}, timeout=30)
        from_cache = proxy.count("GET") - asked
        wrong = [
            requests.get(one, timeout=30).status_code
            for one in (
                present.partition("?")[0],
                present[:-1] + ("0" if present[-1] != "0" else "1"),
                present.replace("image%2Fjpeg", "text%2Fhtml"),
                before,
            )
        ]
        changed = requests.put(present, data=b"x", timeout=30)
        with viewer.app_context():
            db.engine.dispose()

        assert present.startswith(f"{cdn}/{shared_bucket}/")
        assert (first.status_code, first.content) == (200, PHOTO)
        assert (again.content, part.content, from_cache) == (PHOTO, PHOTO[-500:], 0)
        assert requests.get(last, timeout=30).content == PHOTO
        assert wrong == [403] * 4
        assert changed.status_code == 403
        assert first.headers["Content-Type"] == "image/jpeg"
        assert first.headers["X-Content-Type-Options"] == "nosniff"
        assert first.headers["Cache-Control"] == "public, max-age=86400, immutable"


def answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=5).status_code in (400, 403, 404)
    except requests.RequestException:
        return False
