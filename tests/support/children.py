"""A process that may be killed in the middle."""

import os
from collections.abc import Callable

from viewer.extensions import db


def in_child(work: Callable[[], object], *, expected: int = 0) -> None:
    """Run in a forked process with connections of its own; it must end with this status."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            db.session.remove()
            db.engine.dispose(close=False)
            work()
            status = 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == expected
