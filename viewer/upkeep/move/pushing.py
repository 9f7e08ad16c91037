"""Push what this host has and the wanted store has not, every few seconds."""

import logging
import uuid

from viewer import holdings
from viewer.holdings import StrangeFile, WrongBytes
from viewer.office import findings
from viewer.plurals import counted
from viewer.upkeep.threads import in_threads

log = logging.getLogger(__name__)

EVERY = 5.0  # seconds
LEASE = 300.0  # seconds
AT_ONCE = 500  # files


def push_due() -> str:
    """Push until nothing is due, or the wanted store does not take it. How it went, in a line."""
    done = 0
    while due := holdings.due(AT_ONCE):
        pushed = sum(is_done for _, is_done in in_threads(push, iter(due)))
        done += pushed
        if pushed < len(due):
            return f"{counted(done, 'file')} pushed; {len(due) - pushed:,} have to wait"
    return f"{counted(done, 'file')} pushed"


def push(media_id: uuid.UUID) -> bool:
    """Push one file; what stands in its way is put down on its row. Commits."""
    try:
        return holdings.push(media_id)
    except StrangeFile as trouble:
        holdings.put_off(media_id, str(trouble))
    except WrongBytes as trouble:
        findings.note_wrong_bytes(media_id, trouble)
        holdings.put_off(media_id, str(trouble))
    return False
