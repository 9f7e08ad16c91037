"""The queue: two runs of one job have nothing in common but the row."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis
import rq
import sqlalchemy as sa

from tests.support.pictures import HeldPicture
from viewer import jobs
from viewer.extensions import db
from viewer.models import MediaAttachment

State = MediaAttachment.State


@pytest.fixture
def worker_process(settings: dict[str, Any], tmp_path: Path) -> Any:
    """A worker in a process of its own until the queue is empty; `log` is what it says."""
    log = tmp_path / "worker.log"
    started: list[subprocess.Popen[bytes]] = []

    def start() -> subprocess.Popen[bytes]:
        given = {name: str(value) for name, value in settings.items()}
        given["TRANSFER_SECONDS"] = "60"  # the provider below holds its answer back
        with log.open("ab") as stderr:
            started.append(
                subprocess.Popen(
                    [sys.executable, "-m", "viewer", "work", jobs.INTAKE, "--burst"],
                    env=os.environ | given,
                    stderr=stderr,
                )
            )
        return started[-1]

    yield start, log
    for process in started:
        process.kill()
        process.wait()


def test_a_job_that_is_enqueued_while_it_runs_disturbs_no_run(
    deliver: Callable[..., Any],
    message: Callable[..., Any],
    provider: Any,
    worker_process: Any,
    valkey_url: str,
) -> None:
    start, log = worker_process
    held = HeldPicture()
    deliver(message(media=[provider.serve(held)]).payload())
    first = start()
    assert held.is_asked_for.wait(60), log.read_text()
    [media_id] = db.session.scalars(sa.select(MediaAttachment.id))
    db.session.rollback()  # else SQLite would let no worker write
    jobs.enqueue(jobs.collect_media, media_id)
    start().wait(60)  # it finds the row claimed, and ends first
    held.may_go.set()
    first.wait(60)

    assert "Traceback" not in log.read_text()
    media = db.session.get_one(MediaAttachment, media_id)
    assert (media.state, media.attempts) == (State.STORED, 1)
    with redis.from_url(valkey_url) as connection:
        registry = rq.Queue(jobs.INTAKE, connection=connection).failed_job_registry
        assert registry.get_job_ids() == []
        assert list(connection.scan_iter("rq:job:collect_media_*")) == []
