"""The names of scheduled tasks that each host has for itself, for what lies in its own folder."""

import re

from viewer import holdings

_NAME = re.compile(r"([a-z]+)-[0-9a-f]{12}")


def name_of(task: str) -> str:
    """Such as `push-0123456789ab`: the lease is this folder's, not that of all hosts."""
    return f"{task}-{holdings.own_id().hex[:12]}"


def task_of(name: str) -> str | None:
    """The task of such a name; None for one that all hosts share."""
    found = _NAME.fullmatch(name)
    return found[1] if found else None
