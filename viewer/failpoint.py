"""Named places where a test may make this process die, stall or fail.

Nothing happens unless VIEWER_FAILPOINTS names the place, as in
`collect.placed=kill,fetch.half=sleep:2,ingest.read=raise`. A place may carry `@N`: only the Nth
time it is passed. The crash suite switches them on; production refuses to start with them.
"""

import os
import signal
import time

VARIABLE = "VIEWER_FAILPOINTS"

_passed: dict[str, int] = {}


class Failpoint(Exception):
    """Raised where a test asked for it."""


def failpoint(name: str) -> None:
    wanted = os.environ.get(VARIABLE)
    if wanted:
        _act(name, wanted)


def _act(name: str, wanted: str) -> None:
    for entry in wanted.split(","):
        place, _, action = entry.partition("=")
        place, _, turn = place.partition("@")
        if place != name:
            continue
        _passed[name] = _passed.get(name, 0) + 1
        if turn and int(turn) != _passed[name]:
            continue
        verb, _, argument = action.partition(":")
        if verb == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif verb == "sleep":
            time.sleep(float(argument))
        elif verb == "raise":
            raise Failpoint(name)
