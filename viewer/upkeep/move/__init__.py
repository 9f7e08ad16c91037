"""Move stored files between stores: all of them on request, new ones by the clock.

1. `target`: choose the store, try it, mark it, and make it the one for new files
2. `run`: bring every row there, until none is left elsewhere
3. `pushing`: what this host stored meanwhile, or while the wanted store was away
4. `clearing`: remove what former stores still have, long after, and only what a backup has, too
"""

from viewer.upkeep.move.run import Advance, Move, Pace, Result, Survey
from viewer.upkeep.move.target import CannotMove, Target, check_room, find, take

__all__ = [
    "Advance",
    "CannotMove",
    "Move",
    "Pace",
    "Result",
    "Survey",
    "Target",
    "check_room",
    "find",
    "take",
]
