"""`viewer storage adopt`: a way out for photos that were moved by hand, and none into loss."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from click.testing import CliRunner, Result

from tests.conftest import BOTH
from tests.support.pictures import picture
from tests.support.stored_files import keep
from viewer import commands, create_app, holdings
from viewer.extensions import db
from viewer.models import MediaAttachment, RegisteredStore
from viewer.storage import from_url
from viewer.upkeep import adoption, identity

State = MediaAttachment.State


@pytest.fixture
def is_started() -> bool:
    return False


@pytest.fixture
def moved(app: Any, settings: dict[str, Any], tmp_path: Path) -> Path:
    """Five photos, copied to another disk as `cp -r media/* …` would: without the marker."""
    identity.ensure()
    for number in range(5):
        keep(picture(width=100 + number))
    db.session.commit()
    shutil.copytree(
        tmp_path / "media", tmp_path / "big", ignore=shutil.ignore_patterns(".viewer-store")
    )
    settings["MEDIA_ROOT"] = str(tmp_path / "big")
    return tmp_path / "big"


@pytest.fixture
def adopt(settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    def run(*words: str, answer: str = "") -> Result:
        db.session.commit()
        for name, value in settings.items():
            monkeypatch.setenv(name, str(value))
        return CliRunner().invoke(commands.viewer, ["storage", "adopt", *words], input=answer)

    return run


def start(settings: dict[str, Any]) -> None:
    app = create_app(settings)
    with app.app_context():
        try:
            identity.ensure()
        finally:
            db.session.remove()
            db.engine.dispose()


def first_file(folder: Path) -> Path:
    found = db.session.scalars(sa.select(MediaAttachment).order_by(MediaAttachment.file_path))
    path = folder / found.first().file_path
    db.session.commit()
    path.chmod(0o644)
    return path


def test_photos_that_were_moved_by_hand_are_adopted_after_a_look_and_a_yes(moved, adopt, settings):
    with pytest.raises(identity.WrongStore, match="viewer storage adopt"):
        start(settings)

    no = adopt(answer="n\n")
    after_no = (moved / ".viewer-store").exists()
    yes = adopt(answer="y\n")

    assert (no.exit_code, after_no) == (1, False)
    assert yes.exit_code == 0, yes.output
    assert (
        f"{moved}: of 5 files 5 are there with their size, 5 of them were read through; "
        "0 are missing, 0 are different"
    ) in yes.output
    assert (moved / ".viewer-store").read_text() == holdings.own().identity()
    start(settings)


@BOTH
def test_an_old_database_that_met_no_folder_yet_adopts_its_own(app, adopt, settings, tmp_path):
    identity.ensure()
    keep()
    (tmp_path / "media" / ".viewer-store").unlink()
    with pytest.raises(identity.WrongStore, match=r"has no marker.*viewer storage adopt"):
        start(settings)

    assert adopt("--yes").exit_code == 0

    start(settings)
    known = db.session.scalars(sa.select(RegisteredStore)).one()
    assert (tmp_path / "media" / ".viewer-store").read_text() == str(known.id)
    assert not holdings.own().is_away()  # in a process that was running all the while


def test_one_scar_is_shown_and_forgiven(moved, adopt, settings):
    path = first_file(moved)
    path.unlink()

    found = adopt("--yes")

    assert found.exit_code == 0, found.output
    assert f"missing: {path.relative_to(moved)}" in found.output
    start(settings)


@pytest.mark.parametrize("harm", ["missing", "shorter", "flipped"])
def test_a_folder_that_lacks_too_much_is_refused_and_the_rule_is_said(harm, moved, adopt, settings):
    for path in [path for path in moved.rglob("*.jpg") if path.is_file()][:2]:
        content = path.read_bytes()
        path.unlink()
        if harm == "shorter":
            path.write_bytes(content[:-1])
        elif harm == "flipped":
            path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))

    refused = adopt("--yes")
    marked = (moved / ".viewer-store").exists()
    told = adopt("--yes", "--lost", "2")

    assert isinstance(refused.exception, identity.WrongStore)
    words = str(refused.exception)
    assert "2 of 5 files are missing or different, and at most 1 may be" in words
    assert "--lost 2" in words
    assert ("2 are missing" if harm == "missing" else "2 are different") in refused.output
    assert not marked
    assert told.exit_code == 0
    start(settings)


def test_a_strange_folder_is_refused_whatever_is_said_to_be_lost(app, adopt, settings, tmp_path):
    identity.ensure()
    keep()
    db.session.commit()
    (tmp_path / "holiday").mkdir()
    (tmp_path / "holiday" / "beach.jpg").write_bytes(picture())
    settings["MEDIA_ROOT"] = str(tmp_path / "holiday")

    refused = adopt("--yes", "--lost", "1")

    assert "1 of 1 files are missing" in str(refused.exception)
    assert [path.name for path in (tmp_path / "holiday").iterdir()] == ["beach.jpg"]


@pytest.mark.parametrize("kind", ["ours already", "another's", "empty", "a file", "no files yet"])
def test_what_is_not_to_be_adopted_is_refused_in_one_sentence(kind, app, adopt, settings, tmp_path):
    identity.ensure()
    if kind != "no files yet":
        keep()
        db.session.commit()
    media = tmp_path / "media"
    if kind == "another's":
        (media / ".viewer-store").unlink()
        (media / ".viewer-store").write_text("00000000-0000-0000-0000-000000000000")
    elif kind != "ours already":
        media.rename(tmp_path / "unmounted")
        if kind == "empty":
            media.mkdir()
        elif kind == "a file":
            media.write_text("x")
        else:
            media.mkdir()
            (media / "something").write_text("x")

    refused = adopt("--yes")

    assert isinstance(refused.exception, identity.WrongStore)
    assert {
        "ours already": "own already",
        "another's": "marker of another database",
        "empty": "is its disk mounted?",
        "a file": "cannot be used",
        "no files yet": "nothing shows that the folder is its own",
    }[kind] in str(refused.exception)
    assert "\n" not in str(refused.exception)


def test_only_a_sample_is_read_and_what_is_damaged_purged_or_on_its_way_proves_nothing(
    moved, adopt
):
    for state in (State.DAMAGED, State.PENDING, State.NEEDS_ATTENTION):
        keep(state=state)

    found = adopt("--yes", "--sample", "2")

    assert "of 5 files 5 are there with their size, 2 of them were read through" in found.output


def test_a_marker_that_appears_meanwhile_is_never_replaced(moved, app):
    store = from_url(f"folder:{moved}")
    adoption.check_marker(store)
    (moved / ".viewer-store").write_text("somebody else's")

    with pytest.raises(identity.UnusableStore):
        adoption.adopt(store)

    assert (moved / ".viewer-store").read_text() == "somebody else's"
