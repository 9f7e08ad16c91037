"""Alarms without those of set-up: tests of other alarms need no finished installation."""

from viewer.upkeep import health


def alarms_beside_setup(workers: dict[str, int] | None) -> list[health.Alarm]:
    found = health.read_health(workers).alarms
    return [alarm for alarm in found if not alarm.name.startswith("setup_")]
