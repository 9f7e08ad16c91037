"""No query for single rows of a restore sorts the media attachments, however many there are."""

import pytest
import sqlalchemy as sa

from tests.support.query_plans import noted_plans
from viewer import holdings
from viewer.extensions import db
from viewer.upkeep.restore import originals


@pytest.fixture
def plans(app):
    with noted_plans() as plans:
        yield plans


@pytest.mark.parametrize("has_statistics", [False, True])
def test_pages_of_rows_follow_an_index_and_sort_nothing(has_statistics, keep, plans, monkeypatch):
    kept = [keep(f"photo {number}".encode()) for number in range(25)]
    if has_statistics:
        db.session.execute(sa.text("ANALYZE"))
        db.session.commit()
    monkeypatch.setattr(originals, "BATCH", 10)
    plans.clear()

    found = list(originals.rows_of(holdings.own_id()))

    assert len(found) == len({row.id for row in found}) == len(kept)
    assert len(plans) == 2  # the first page, and the others
    for plan in plans.values():
        assert [step for step in plan if "TEMP B-TREE" in step] == []
        assert any("ix_media_attachments_gallery" in step for step in plan)
