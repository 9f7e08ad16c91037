"""Silence is an alarm: what stopped, what is late, what is missing, in words for the owner.

One reading serves the status page, `/healthz` and `/metrics`, so they never disagree.

figures     what is looked at
tasks       the scheduled tasks that must be done again and again
reading     looks at everything
stores      what is in each store, and what waits there
totals      what takes a count of all files
growth      how they grow, and when 100 GB or a full disk is reached
alarms      what of it is an alarm, of which level, in which words
connection  the alarms of an installation that nothing can come to
proxies     the alarm of a wrong PROXY_HOPS
permissions the alarm of folders that other users of this machine can look into
"""

from viewer.upkeep.health.alarms import UNREAD, business_hours_between
from viewer.upkeep.health.figures import Alarm, Disk, Health, Level
from viewer.upkeep.health.growth import LEAST_KNOWN, Forecast, Growth, Outlook, Pace, Verdict
from viewer.upkeep.health.reading import read_health
from viewer.upkeep.health.tasks import HOST_RULES, TASK_RULES

__all__ = [
    "HOST_RULES",
    "LEAST_KNOWN",
    "TASK_RULES",
    "UNREAD",
    "Alarm",
    "Disk",
    "Forecast",
    "Growth",
    "Health",
    "Level",
    "Outlook",
    "Pace",
    "Verdict",
    "business_hours_between",
    "read_health",
]
