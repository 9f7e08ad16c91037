"""A drill restores a backup for real and opens photos in it; whatever is not right makes it red."""

import psycopg

from tests.conftest import BOTH
from tests.support.pictures import noise
from viewer.extensions import db
from viewer.models import MediaAttachment, UpkeepRun, User
from viewer.upkeep import runs
from viewer.upkeep.backup import retention
from viewer.upkeep.backup import target as targets

State = MediaAttachment.State


def latest() -> UpkeepRun:
    found = runs.latest(runs.Kind.DRILL)
    db.session.commit()
    assert found is not None
    return found


@BOTH
def test_a_right_backup_is_proven_and_nothing_is_left(keep, back_up, drill, place, tmp_path):
    for number in range(4):
        keep(noise(60, 50, number))
    keep(b"put away", state=State.TRASHED)
    assert back_up().is_good

    result = drill()

    assert result.words.startswith(
        "Snapshot 1 restored: 5 originals in the backup, 5 of them opened and right"
    )
    assert (result.is_good, result.snapshot) == (True, 1)
    assert result.counts.items() >= {"files": 5, "sampled": 5, "fetched": 4}.items()
    assert not (tmp_path / "data" / "drill").exists()
    run = latest()
    assert (run.subject, run.outcome, run.snapshot) == (f"folder:{place}", "good", 1)
    assert retention.proven(targets.open_target(str(place))) == {1}
    assert db.session.query(User).count() == 0  # the visitor was one of the scratch database
    db.session.commit()
    if db.engine.dialect.name == "postgresql":
        assert scratch_databases(db.engine.url) == []


def scratch_databases(url) -> list[str]:
    address = url.set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(address) as connection:
        found = connection.execute("SELECT datname FROM pg_database").fetchall()
    return [name for (name,) in found if name.startswith("viewer_drill_")]
