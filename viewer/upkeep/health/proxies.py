"""The alarm of a PROXY_HOPS that does not fit the proxies in front."""

import enum
from collections.abc import Iterable
from datetime import datetime, timedelta

from viewer.config import settings
from viewer.extensions import db
from viewer.models import Checkpoint
from viewer.upkeep.health.figures import Alarm, Health, Level

CHECKPOINT = "proxy_hops"  # its value: which, and the setting for which it was seen
_KNOWN = timedelta(hours=24)


class Misfit(enum.StrEnum):
    FORGOTTEN = "forgotten"  # requests come from a proxy that PROXY_HOPS does not count
    SURPLUS = "surplus"  # requests name fewer clients than PROXY_HOPS counts proxies


_WORDS = {
    Misfit.FORGOTTEN: (
        "Requests come through a reverse proxy that PROXY_HOPS does not count: the viewer takes the"
        " proxy's address for every client's."
    ),
    Misfit.SURPLUS: (
        "Requests come through fewer reverse proxies than PROXY_HOPS counts: clients can choose"
        " the address that the viewer takes for theirs."
    ),
}


def misfit(_found: Health, moment: datetime) -> Iterable[Alarm]:
    mark = db.session.get(Checkpoint, CHECKPOINT)
    if mark is None or moment - mark.updated_at > _KNOWN:
        return
    seen, _, hops = mark.value.partition(":")
    if hops == str(settings().PROXY_HOPS):  # else it was changed since
        yield Alarm(
            "proxy_hops",
            Level.ATTENTION,
            _WORDS[Misfit(seen)],
            "Set PROXY_HOPS to the exact number of reverse proxies in front, let nobody reach the"
            " viewer past them, and restart. See docs/operations.md, “Settings”.",
        )
