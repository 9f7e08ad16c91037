"""No query of a backup sorts the media attachments, however many there are."""

import re
from datetime import timedelta

import pytest
import sqlalchemy as sa

from tests.support.query_plans import noted_plans
from viewer.extensions import db, now
from viewer.models import MediaAttachment
from viewer.office import trash

State = MediaAttachment.State


@pytest.fixture
def plans(app):
    with noted_plans() as plans:
        yield plans


@pytest.mark.parametrize("has_statistics", [False, True])
def test_the_queries_of_a_backup_follow_an_index_and_sort_nothing(
    has_statistics, keep, back_up, place, plans, time_machine_at
):
    long_ago = now() - timedelta(days=40)
    for number in range(25):
        keep(f"photo {number}".encode(), state=State.TRASHED, trashed_at=long_ago)
    gone = keep(b"purged", state=State.TRASHED, trashed_at=long_ago)
    if has_statistics:
        db.session.execute(sa.text("ANALYZE"))
        db.session.commit()
    back_up()
    trash.purge([gone.id], None)
    (place / "media" / "2026" / "unnamed_photo.jpg").write_bytes(b"of a run that was killed")
    plans.clear()

    with time_machine_at(now() + timedelta(days=1)):
        result = back_up()

    assert result.is_good, result.words
    assert not (place / "media" / "2026" / "unnamed_photo.jpg").exists()
    assert len(plans) == 4  # the list, its count, what was purged, the second look
    sorted_ones = [text for text, plan in plans.items() if "TEMP B-TREE" in " ".join(plan)]
    scanned = [
        text
        for text, plan in plans.items()
        if any(re.match(r"SCAN media_attachments$", step) for step in plan)
    ]
    assert sorted_ones == []
    assert scanned == []
