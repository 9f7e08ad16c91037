"""Failpoints (fault injection): named places where a test can kill, delay or fail this process.

A no-op unless VIEWER_FAILPOINTS names the failpoint, as in
`collect.placed=kill,fetch.half=sleep:2,ingest.read=raise`. The suffix `@N` on a name means only
the Nth pass. The crash tests set it; production refuses to start with it.
"""

import os
import signal
import time

VARIABLE = "VIEWER_FAILPOINTS"

_passed: dict[str, int] = {}


class Failpoint(Exception):
    """Raised by a failpoint with the action `raise`."""


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
