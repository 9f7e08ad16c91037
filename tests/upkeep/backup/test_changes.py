"""A mass change is an alarm until the originals are back, or until a person accepts it."""

from datetime import timedelta

import pytest
import sqlalchemy as sa

from tests.upkeep.backup.conftest import hash_of, newest, overwrite
from viewer.extensions import db, now
from viewer.models import MediaAttachment
from viewer.upkeep import runs
from viewer.upkeep.backup import coverage, retention


@pytest.fixture
def lost(keep, back_up, tmp_path):
    """25 originals that are in the first backup, and gone since; five others are there."""
    for number in range(5):
        keep(f"stays {number}".encode())
    kept = [keep(f"photo {number}".encode()) for number in range(25)]
    assert back_up().is_good
    for media in kept:
        (tmp_path / "photos" / media.file_path).unlink()
    return kept


def test_the_words_of_a_mass_change_name_what_to_do(lost, back_up):
    result = back_up()

    assert not result.is_good
    assert result.words.endswith("If you know of it: viewer backup --accept-changes.")


def test_what_a_person_accepted_is_verified_and_said_in_the_record(lost, back_up, place, found):
    assert not back_up().is_good

    result = back_up(accept_changes=True)

    assert (result.is_good, result.counts["files"], result.counts["altered"]) == (True, 30, 25)
    assert "25 originals gone or altered since the last verified backup, which was accepted." in (
        result.words
    )
    run = runs.latest(runs.Kind.BACKUP)
    assert run is not None
    assert run.words == result.words
    assert not coverage.read().targets[-1].is_mass_change
    assert [one.is_verified for one in found().complete] == [True, False, True]
    for media in lost:  # the pool is their only place now
        assert hash_of(place / "media" / media.file_path) == media.sha256


def test_the_runs_after_it_are_good_until_more_is_lost(lost, keep, back_up, tmp_path):
    """Not only the next one: each hands on what was accepted."""
    back_up(accept_changes=True)
    more = [keep(f"later {number}".encode()) for number in range(20)]
    outcomes = [(run.is_good, run.counts["altered"]) for run in (back_up(), back_up())]
    for media in more:
        (tmp_path / "photos" / media.file_path).unlink()
    last = back_up()
    outcomes.append((last.is_good, last.counts["altered"]))

    assert outcomes == [(True, 0), (True, 0), (False, 20)]


def test_what_came_back_and_is_lost_again_is_news(lost, back_up, place, tmp_path):
    back_up(accept_changes=True)
    for media in lost:
        content = (place / "media" / media.file_path).read_bytes()
        (tmp_path / "photos" / media.file_path).write_bytes(content)
    assert back_up().is_good
    assert not (newest(place) / "ACCEPTED").exists()
    for media in lost:
        (tmp_path / "photos" / media.file_path).unlink()

    assert not back_up().is_good


def test_rows_that_are_gone_for_good_can_be_accepted_too(keep, back_up, place):
    keep(b"stays")
    for number in range(25):
        keep(f"photo {number}".encode(), problem="to be deleted")
    back_up()
    media = MediaAttachment
    db.session.execute(sa.delete(media).where(media.problem == "to be deleted"))
    db.session.commit()

    outcomes = [back_up().is_good, back_up(accept_changes=True).is_good, back_up().is_good]

    assert outcomes == [False, True, True]
    assert not (newest(place) / "ACCEPTED").exists()  # the next list has none of them


def test_originals_that_were_lost_before_their_first_backup_can_be_accepted(
    keep, back_up, found, tmp_path
):
    keep(b"stays")
    for number in range(25):
        media = keep(f"photo {number}".encode())
        (tmp_path / "photos" / media.file_path).unlink()

    assert not back_up().is_good
    result, again = back_up(accept_changes=True), back_up()

    assert (result.is_good, result.counts["files"], result.counts["lost"]) == (True, 1, 25)
    assert (again.is_good, again.counts["files"], again.counts["lost"]) == (True, 1, 25)
    assert [one.facts["files"] for one in found().verified] == [1, 1]


def test_pruning_goes_on_by_the_usual_rules(lost, back_up, found, monkeypatch, time_machine_at):
    monkeypatch.setattr(retention, "RULES", ())  # the last three alone
    begin = now()
    numbers = []
    for hour in range(1, 6):
        with time_machine_at(begin + timedelta(hours=hour)):
            back_up(accept_changes=hour == 3)
        numbers.append([one.number for one in found().verified])

    assert numbers == [[1], [1], [1, 4], [1, 4, 5], [4, 5, 6]]


def test_a_list_of_accepted_changes_that_was_altered_accepts_nothing(lost, back_up, place):
    back_up(accept_changes=True)
    overwrite(newest(place) / "ACCEPTED", b"everything\n")

    assert not back_up().is_good
