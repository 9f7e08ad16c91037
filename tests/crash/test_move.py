"""K12: a move or a clearing is killed at any step; the next run goes on and loses nothing."""

import hashlib
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from tests.crash.conftest import KILLED, Scene
from tests.support import object_stores
from tests.support.object_stores import CREDENTIALS, ObjectStore
from viewer import storage

TO_BUCKET = [
    "move.placed@1", "move.copied@2", "move.named@1", "move.named@3", "storage.s3.put@1",
    "storage.s3.put@4",
]  # fmt: skip
BACK = ["storage.sealed@1", "storage.linked@1", "storage.linked@4", "move.placed@2", "move.named@2"]
CLEARING = ["clear.read@1", "clear.begun@1", "clear.removed@2"]


@pytest.fixture
def url(object_store: ObjectStore, shared_bucket: str) -> str:
    return object_store.address(shared_bucket, f"crash/{uuid.uuid4()}")


@pytest.fixture
def viewer(new_scene: Any, tmp_path: Any, message: Callable[..., Any]) -> Scene:
    """Three photos, stored here, with their copies."""
    scene: Scene = new_scene(
        tmp_path / "data",
        tmp_path / "media",
        KEEP_MOVED_DAYS=0,
        **object_stores.SETTINGS,
    )
    scene.announced(message(media=scene.photos(3)))
    assert scene.run("collect") == 0
    assert scene.run("copies") == 0
    return scene


def moved(viewer: Scene, url: str) -> int:
    run = viewer.start("move", target=url)
    outcome, count = run.heard()
    assert (run.ended(), outcome) == (0, "good")
    return int(count)


def in_store(url: str, viewer: Scene) -> dict[str, str]:
    """The SHA-256 of what lies in a store, by key."""
    address = f"folder:{viewer.media_root}" if url == "folder:" else url
    store = storage.from_url(address, credentials=CREDENTIALS)
    store.expect(str(store.identity()))
    found = {}
    for key, _ in store.keys(""):
        if storage.keys.is_media(key):
            with store.open(key) as file:
                found[key] = hashlib.sha256(file.read()).hexdigest()
    return found


def check(viewer: Scene, url: str) -> None:
    """Every original is there with its bytes, every row says so, and no copy is missing."""
    rows = viewer.rows()
    found = in_store(url, viewer)
    assert {row["file_path"]: row["sha256"] for row in rows}.items() <= found.items()
    for row in rows:
        assert {row["thumbnail_path"], row["preview_path"]} <= found.keys()
        assert row["state"] == "stored"
    assert len({row["storage"] for row in rows}) == 1
    assert viewer.violations() == [] or url != "folder:"


@pytest.mark.proof
@pytest.mark.parametrize("step", TO_BUCKET)
def test_k12_a_move_to_a_bucket_that_is_killed_goes_on(step, viewer, url):
    assert viewer.run("move", target=url, failpoints=f"{step}=kill") == KILLED

    moved(viewer, url)

    check(viewer, url)


@pytest.mark.proof
@pytest.mark.parametrize("step", BACK)
def test_k12_a_move_back_that_is_killed_goes_on(step, viewer, url):
    moved(viewer, url)
    for path in viewer.media_root.glob("2*/**/messages/*"):  # else it is adopted
        path.unlink()
    assert viewer.run("move", target="folder:", failpoints=f"{step}=kill") == KILLED

    moved(viewer, "folder:")

    check(viewer, "folder:")


@pytest.mark.proof
@pytest.mark.parametrize("step", CLEARING)
def test_k12_a_clearing_that_is_killed_goes_on_and_leaves_nothing(step, viewer, url, tmp_path):
    moved(viewer, url)
    assert viewer.run("back-up", target=str(tmp_path / "backup")) == 0
    assert viewer.run("clear", failpoints=f"{step}=kill") == KILLED

    assert viewer.run("clear") == 0

    check(viewer, url)
    assert in_store("folder:", viewer) == {}
    assert {row["former_storage"] for row in viewer.rows()} == {None}
