"""The names of scheduled tasks that each host has for itself, for what lies in its own folder."""

from viewer import holdings


def name_of(task: str) -> str:
    """Such as `push-0123456789ab`: the lease is this folder's, not that of all hosts."""
    return f"{task}-{holdings.own_id().hex[:12]}"
