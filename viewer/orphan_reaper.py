"""What a killed supervisor left is killed: a program of its own, which outlives it.

It knows the parts by the lines of its standard input: `+123` for a new one, `-123` for one that
ended. When the pipe closes, it gives what is left a few seconds, then kills it.
"""

import contextlib
import os
import signal
import sys
import time
from pathlib import Path

PATIENCE = 3.0  # seconds, for a worker that finishes its work first


def kill_session(leader: int) -> None:
    """Kill the part and all its descendants, whatever their process group."""
    if not Path("/proc").is_dir():  # not Linux: only the process group can be signalled
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(leader, signal.SIGKILL)
        return
    # Repeat until none is left: a process that is just being forked is not listed yet.
    for _ in range(20):
        left = members(leader)
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if not left:
            return
        time.sleep(0.01)


def members(leader: int) -> list[int]:
    """The live processes of this session, even if its leader is dead."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        # The process may have exited by now.
        with contextlib.suppress(ProcessLookupError, FileNotFoundError):
            if _session_of(entry) == leader:
                found.append(int(entry.name))
    return found


def _session_of(entry: Path) -> int | None:
    # proc(5): the name, in parentheses, may itself hold some, so split at the last. Skip zombies.
    state, _parent, _group, session, *_ = (entry / "stat").read_text().rpartition(")")[2].split()
    return None if state == "Z" else int(session)


def main() -> None:
    """Wait until the supervisor is gone, then kill the parts it left."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    parts: set[int] = set()
    for line in sys.stdin:
        change = parts.add if line[0] == "+" else parts.discard
        change(int(line[1:]))
    deadline = time.monotonic() + PATIENCE
    while any(members(part) for part in parts) and time.monotonic() < deadline:
        time.sleep(0.05)
    for part in parts:
        kill_session(part)


if __name__ == "__main__":
    main()
