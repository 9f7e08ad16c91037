"""The heads of the audit log's hash chain that snapshots recorded, and whether the log goes on.

Who can write to the database can compute its chain anew, and not what a backup said before.
"""

from collections.abc import Iterable, Sequence

from viewer.office import audit_chain
from viewer.office.audit_chain import Head
from viewer.storage import Unavailable, UnknownStore
from viewer.upkeep.backup import snapshots
from viewer.upkeep.backup.restic import repository as restic
from viewer.upkeep.backup.snapshots import Snapshot
from viewer.upkeep.backup.targets import target as targets
from viewer.upkeep.backup.targets.target import TargetError

ACCEPTED = "is_accepted"  # in a snapshot's facts: a person knew that earlier ones do not agree


def of(complete: Sequence[Snapshot], url: str) -> list[Head]:
    """Those of these snapshots, newest first, as far back as somebody accepted a difference."""
    heads: list[Head] = []
    for snapshot in reversed(complete):
        head = Head.of(snapshot.facts, f"snapshot {snapshot.number} of {url}")
        if head is not None:
            heads.append(head)
            if snapshot.facts["audit"].get(ACCEPTED):
                break
    return heads


def disagreeing(complete: Sequence[Snapshot], url: str) -> list[str]:
    """What to say if the log does not go on from these snapshots: of the newest one."""
    problems = audit_chain.disagreeing(of(complete, url))
    return [f"The audit log was altered. {problems[0]}"] if problems else []


def read_all(urls: Iterable[str]) -> tuple[list[Head], list[str]]:
    """Those in these targets, and a sentence for each that cannot be read."""
    heads: list[Head] = []
    unread: list[str] = []
    for url in urls:
        if restic.is_repository(url):
            unread.append(f"{url}: restic keeps its heads; restore a snapshot.json, and name it.")
            continue
        try:
            target = targets.open_target(url)
            heads += of(snapshots.find_all(target).complete, url)
        except (TargetError, Unavailable, UnknownStore) as trouble:
            unread.append(f"{url} cannot be read now: {trouble}")
    return heads, unread
