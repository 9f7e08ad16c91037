"""Do one thing to each of many files in a few threads, with few of them in memory."""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from flask import Flask, current_app

from viewer.extensions import db

THREADS = 4  # their fsyncs share a journal commit
_AHEAD = 4  # files that wait for each thread

_File = TypeVar("_File")
_Result = TypeVar("_Result")


def in_threads(
    work: Callable[[_File], _Result], files: Iterator[_File], threads: int = THREADS
) -> Iterator[tuple[_File, _Result]]:
    """What `work` makes of each file, in their order. Raises what it raises, and then ends."""
    app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]

    def at_home(file: _File) -> _Result:
        with app.app_context():  # a session of its own
            try:
                return work(file)
            finally:
                db.session.rollback()

    waiting: deque[tuple[_File, Future[_Result]]] = deque()
    with ThreadPoolExecutor(threads, "files") as pool:
        try:
            for file in files:
                waiting.append((file, pool.submit(at_home, file)))
                if len(waiting) > _AHEAD * threads:
                    first, done = waiting.popleft()
                    yield first, done.result()
            while waiting:
                first, done = waiting.popleft()
                yield first, done.result()
        finally:
            pool.shutdown(cancel_futures=True)
