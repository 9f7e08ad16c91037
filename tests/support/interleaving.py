"""Two sessions in one row: one has read and is about to write, and the other comes in between."""

import threading
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from flask import Flask

from tests.support.crowds import run_all
from viewer.extensions import db

# Seconds: who takes a lock before it reads makes the other one wait, and then has to go on first.
PATIENCE = 1.0


def interleave(
    app: Flask, slow: Callable[[], object], quick: Callable[[], object], *, before: str
) -> None:
    """Run `slow` up to its first statement that starts with `before`, then all of `quick`.

    Where a lock keeps `quick` waiting, `slow` goes on first. Raises what either raised; also if
    `slow` never came to that statement.
    """
    about_to_write, is_done = threading.Event(), threading.Event()
    problems: list[BaseException] = []

    def pause(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        is_it = threading.current_thread() is slower and not about_to_write.is_set()
        if is_it and statement.startswith(before):
            about_to_write.set()
            is_done.wait(PATIENCE)

    def run(act: Callable[[], object]) -> None:
        try:
            with app.app_context():
                act()
                db.session.remove()
        except BaseException as problem:  # noqa: BLE001 - raised in the main thread
            problems.append(problem)

    def run_quick() -> None:
        if about_to_write.wait(20):
            run(quick)
        else:
            problems.append(AssertionError(f"it never came to: {before}"))
        is_done.set()

    db.session.remove()
    slower = threading.Thread(target=run, args=(slow,))
    sa.event.listen(sa.Engine, "before_cursor_execute", pause)
    try:
        run_all([slower, threading.Thread(target=run_quick)])
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", pause)
    if problems:
        raise problems[0]
