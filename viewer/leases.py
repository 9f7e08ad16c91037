"""Keep a lease while its work goes on: renew it from a thread beside the work."""

import contextlib
import itertools
import threading
from collections.abc import Callable, Iterator

import sqlalchemy as sa


@contextlib.contextmanager
def renewed(
    renew: Callable[[], bool], every: float, name: str, most: int | None = None
) -> Iterator[None]:
    """Call `renew` every so many seconds while the block runs, `most` times at most.

    It extends the lease, and says whether it was still ours: once it is not, it stays lost.
    """
    over = threading.Event()

    def keep_renewing() -> None:
        for _ in itertools.count() if most is None else range(most):
            if over.wait(every):
                return
            # A database that is away must not end the thread: the lease may still be ours.
            with contextlib.suppress(sa.exc.OperationalError):
                if not renew():
                    return

    thread = threading.Thread(target=keep_renewing, name=name, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
