"""No query for single rows of a restore sorts the media attachments, however many there are."""

import pytest
import sqlalchemy as sa

from viewer import holdings
from viewer.extensions import db
from viewer.upkeep.restore import originals


@pytest.fixture
def plans(app):
    """The plan of each query of media attachments since, by its text."""
    asked = {}

    def note(connection, _cursor, text, values, _context, _many):
        if text.startswith("SELECT") and "FROM media_attachments" in text and text not in asked:
            asked[text] = []  # the question below comes by here, too
            rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}", values)
            asked[text] = [row[3] for row in rows]

    sa.event.listen(sa.Engine, "before_cursor_execute", note)
    yield asked
    sa.event.remove(sa.Engine, "before_cursor_execute", note)


@pytest.mark.parametrize("has_statistics", [False, True])
def test_pages_of_rows_follow_an_index_and_sort_nothing(has_statistics, keep, plans, monkeypatch):
    kept = [keep(f"photo {number}".encode()) for number in range(25)]
    if has_statistics:
        db.session.execute(sa.text("ANALYZE"))
        db.session.commit()
    monkeypatch.setattr(originals, "BATCH", 10)
    plans.clear()

    found = list(originals.rows_of(holdings.wanted_id()))

    assert len(found) == len({row.id for row in found}) == len(kept)
    assert len(plans) == 2  # the first page, and the others
    for plan in plans.values():
        assert [step for step in plan if "TEMP B-TREE" in step] == []
        assert any("ix_media_attachments_gallery" in step for step in plan)
