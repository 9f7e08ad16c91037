"""A viewer that runs gets the files back that it misses, from the pool, as repairs."""

import shutil
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
import requests
import sqlalchemy as sa

from tests.conftest import BOTH
from tests.support import stored_files
from tests.support.children import in_child
from tests.support.damage import harm
from tests.support.pictures import noise
from tests.support.servers import serving
from tests.upkeep.backup.conftest import overwrite
from tests.upkeep.restore.conftest import tree
from viewer import failpoint, holdings
from viewer.extensions import db, now
from viewer.models import AuditEntry, MediaAttachment, UpkeepRun
from viewer.office import findings, trash
from viewer.storage import Missing
from viewer.upkeep import adoption, identity, runs, verify
from viewer.upkeep.backup.targets import target as targets
from viewer.upkeep.identity import WrongStore
from viewer.upkeep.restore import missing
from viewer.upkeep.restore.missing import Result

State = MediaAttachment.State


@pytest.fixture
def bring_back(app, place) -> Callable[..., Result]:
    return lambda **words: missing.bring_back(targets.open_target(str(place)), **words)


@pytest.fixture
def root(tmp_path) -> Path:
    return tmp_path / "photos"


def day(root: Path) -> Path:
    """The folder of the day on which all came."""
    return root / "2026" / "09" / "21"


def media(root: Path) -> dict[str, bytes]:
    """What a visitor may see."""
    return tree(root / "2026")


@BOTH
def test_rm_rf_of_a_day_comes_back_exactly(app, back_up, bring_back, root, programs):
    kept = [stored_files.keep(noise(60, 50, n), with_copies=True) for n in range(3)]
    assert back_up().is_good
    before = media(root)
    shutil.rmtree(day(root))

    result = bring_back()

    assert (result.files, result.back, result.still_bad, result.problem) == (3, 3, 0, None)
    assert media(root) == before
    assert str(result) == "3 originals read, 3 brought back."
    assert [stored_files.row(one.id).state for one in kept] == [State.STORED] * 3
    noted = db.session.scalars(sa.select(AuditEntry.action).order_by(AuditEntry.id)).all()
    assert sorted(noted) == ["damage"] * 3 + ["repair"] * 3
    run = runs.latest(runs.Kind.RESTORE)
    assert (run.outcome, run.counts["back"]) == (UpkeepRun.Outcome.GOOD, 3)


@pytest.mark.parametrize("how", ["flipped", "cut", "missing", "symlink", "pipe"])
def test_whatever_lies_in_its_place_the_right_bytes_come_back(how, keep, back_up, bring_back, root):
    wrong, right = keep(b"comes back"), keep(b"was never away")
    back_up()
    harm(root / wrong.file_path, how)
    untouched = (root / right.file_path).stat().st_mtime_ns

    result = bring_back()

    assert (result.files, result.back, result.still_bad) == (2, 1, 0)
    path = root / wrong.file_path
    assert (path.read_bytes(), path.is_symlink()) == (b"comes back", False)
    assert path.stat().st_mode & 0o777 == 0o444
    assert (root / right.file_path).stat().st_mtime_ns == untouched


def test_wrong_bytes_go_to_the_quarantine(keep, back_up, bring_back, root):
    photo = keep(b"right")
    back_up()
    overwrite(root / photo.file_path, b"wrong")

    bring_back()

    assert [path.read_bytes() for path in (root / "quarantine/damaged").iterdir()] == [b"wrong"]


def test_a_row_that_is_damaged_already_is_stored_again(keep, back_up, bring_back, root):
    photo = keep(b"right")
    back_up()
    (root / photo.file_path).unlink()
    verify.verify(holdings.own_id())
    assert stored_files.row(photo.id).state is State.DAMAGED

    assert bring_back().back == 1
    assert stored_files.row(photo.id).state is State.STORED


def test_k32_a_backup_that_is_wrong_too_leaves_the_row_damaged_and_the_others_come_back(
    keep, back_up, bring_back, root, place
):
    lost, other, gone = keep(b"lost"), keep(b"other"), keep(b"gone from the pool")
    back_up()
    overwrite(place / "media" / lost.file_path, b"LOST")
    (place / "media" / gone.file_path).unlink()
    shutil.rmtree(day(root))

    result = bring_back()

    assert (result.back, result.still_bad) == (1, 2)
    assert result.bad == dict.fromkeys((lost.file_path, gone.file_path), "missing")
    assert [stored_files.row(one.id).state for one in (lost, other, gone)] == [
        State.DAMAGED, State.STORED, State.DAMAGED,
    ]  # fmt: skip
    assert not (root / lost.file_path).exists()


def test_what_was_purged_does_not_come_back(keep, back_up, bring_back, root):
    photo = keep(b"deleted for good", state=State.TRASHED, trashed_at=now() - trash.KEPT)
    back_up()
    trash.purge([photo.id], None)
    shutil.rmtree(root / "quarantine")

    assert (bring_back().files, (root / photo.file_path).exists()) == (0, False)


def test_one_that_is_purged_while_it_works_does_not_come_back(keep, back_up, bring_back, root):
    moment = now()
    kept = [
        keep(f"photo {n}".encode(), state=State.TRASHED, trashed_at=moment - trash.KEPT,
             sent_at=moment - timedelta(days=n))
        for n in range(60)
    ]  # fmt: skip
    back_up()

    class Purging:
        """The last one, whose row was read by then, and whose turn is still to come."""

        def begin(self, stage: str, length: int) -> None:
            self.is_due = True

        def advance(self, count: int) -> None:
            if self.is_due:
                self.is_due = False
                trash.purge([kept[-1].id], None)

    result = bring_back(progress=Purging())

    assert (result.files, result.back, result.still_bad) == (60, 0, 0)
    assert not (root / kept[-1].file_path).exists()


def test_thumbnails_that_the_pool_does_not_have_are_made_again(
    app, back_up, bring_back, root, place
):
    photo = stored_files.keep(noise(60, 50, 1), with_copies=True)
    back_up()
    (place / "media" / photo.thumbnail_path).unlink()
    shutil.rmtree(day(root))

    bring_back()

    assert stored_files.row(photo.id).copy_state is MediaAttachment.CopyState.DUE


def test_rows_in_another_store_come_back_into_that_one(app, keep, back_up, bring_back, tmp_path):
    bucket = stored_files.other_store(tmp_path / "bucket")
    moved = stored_files.keep_in(bucket, b"moved")
    back_up()
    (tmp_path / "bucket" / moved.file_path).unlink()

    assert bring_back().back == 1
    assert (tmp_path / "bucket" / moved.file_path).read_bytes() == b"moved"


def test_a_target_that_goes_away_is_said_and_is_no_finding(keep, back_up, bring_back, root, place):
    keep(b"one")
    back_up()
    shutil.rmtree(day(root))

    class Unplugged:
        def begin(self, stage: str, length: int) -> None:
            place.rename(place.with_name("unplugged"))

        def advance(self, count: int) -> None:
            """Of no interest."""

    result = bring_back(progress=Unplugged())

    assert result.problem == "The target is not there any more: is its disk mounted?"
    assert runs.latest(runs.Kind.RESTORE).outcome is UpkeepRun.Outcome.FAILED


def test_k58_it_works_while_pages_are_served(app, client, back_up, bring_back, root):
    """Every answer is the right bytes or says that there are none; in the end all are there."""
    kept = [stored_files.keep(noise(70, 50, n)) for n in range(12)]
    contents = {str(one.id): (root / one.file_path).read_bytes() for one in kept}
    back_up()
    before = media(root)
    cookies = {cookie.key: cookie.value for cookie in client._cookies.values()}
    over, wrong, answers = threading.Event(), [], []

    def read(base: str) -> None:
        while not over.is_set():
            for identity_, content in contents.items():
                answer = requests.get(f"{base}/media/{identity_}", cookies=cookies, timeout=30)
                answers.append(answer.status_code)
                if answer.status_code == 200 and answer.content != content:
                    wrong.append(identity_)

    with serving(app) as base:
        reader = threading.Thread(target=read, args=(base,))
        reader.start()
        shutil.rmtree(day(root))
        result = bring_back()
        over.set()
        reader.join()

    assert (result.still_bad, wrong) == (0, [])
    assert media(root) == before
    assert {stored_files.row(one.id).state for one in kept} == {State.STORED}
    assert {200} <= set(answers) <= {200, 410}


PLACES = (
    "restore.found_missing", "repair.fetched", "repair.moved", "storage.linked", "repair.placed",
    "repair.noted", "restore.sealed",
)  # fmt: skip


@pytest.mark.proof
@pytest.mark.parametrize("step", PLACES)
def test_killed_at_any_step_the_next_run_brings_the_rest(
    step, app, back_up, bring_back, root, monkeypatch
):
    kept = [stored_files.keep(noise(60, 50, n), with_copies=True) for n in range(3)]
    back_up()
    before = media(root)
    shutil.rmtree(day(root))
    monkeypatch.setenv(failpoint.VARIABLE, f"{step}=kill")
    in_child(bring_back, expected=-9)
    monkeypatch.delenv(failpoint.VARIABLE)

    identity.ensure()
    result = bring_back()

    assert (result.files, result.still_bad) == (3, 0)
    assert media(root) == before
    assert [stored_files.row(one.id).state for one in kept] == [State.STORED] * 3


# --- The disk of the photos died --------------------------------------------------------------


def test_a_new_disk_gets_everything_back(keep, back_up, bring_back, root):
    kept = [keep(f"photo {n}".encode()) for n in range(3)]
    back_up()
    before = media(root)
    shutil.rmtree(root)
    root.mkdir()
    with pytest.raises(WrongStore, match="no marker"):
        identity.ensure()

    adoption.adopt_new_disk(holdings.unproven())
    identity.ensure()

    assert bring_back().back == len(kept)
    assert media(root) == before


def test_a_folder_with_files_is_no_new_disk(keep, root):
    keep()
    (root / ".viewer-store").unlink()

    with pytest.raises(WrongStore, match="not empty"):
        adoption.adopt_new_disk(holdings.unproven())
    assert not (root / ".viewer-store").exists()


def test_a_store_that_does_not_answer_holds_up_no_other(keep, back_up, bring_back, root, tmp_path):
    bucket = stored_files.other_store(tmp_path / "bucket")
    moved = stored_files.keep_in(bucket, b"moved")
    photo = keep(b"in the folder")
    back_up()
    (root / photo.file_path).unlink()
    (tmp_path / "bucket").rename(tmp_path / "unplugged")

    result = bring_back()

    assert (result.back, result.problem) == (1, "The disk for photos is not there: is it mounted?")
    assert stored_files.row(moved.id).state is State.STORED


def test_k58_who_opened_it_just_before_the_repair_does_not_mark_it_damaged_after(keep, root):
    photo = keep(b"was missing, and is here again")

    findings.meet(photo, Missing("as it was opened"))
    assert (stored_files.row(photo.id).state, stored_files.row(photo.id).problem) == (
        State.STORED, None,
    )  # fmt: skip

    overwrite(root / photo.file_path, b"x" * photo.file_size)
    findings.meet(photo, Missing("as it was opened"))
    assert stored_files.row(photo.id).state is State.DAMAGED
