"""deploy/systemd/: units that systemd takes, with nothing open that need not be."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.deploy.conftest import DEPLOY, program
from tests.support.sites import replaced
from viewer.commands import viewer

UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
TIMERS = sorted((DEPLOY / "systemd").glob("*.timer"))
# By a user of their own, and with nothing to keep running.
BY_THE_CLOCK = {timer.with_suffix(".service") for timer in TIMERS}
PROGRAMS = "/opt/viewer/.venv/bin"  # where the units look for `viewer`
MOST_EXPOSED = "1.5"  # of 10, as `systemd-analyze security` counts
# Which of our own commands a unit starts is for it alone; what it may do is the same for all.
OWN = re.compile(r"^(ExecStart=.*|Conflicts=.*|Description=.*|#.*|)\n", re.MULTILINE)


@pytest.fixture
def installed(tmp_path: Path) -> list[str]:
    """The units, with the viewer where it is here."""
    paths = []
    for unit in [*UNITS, *TIMERS]:
        # An instance of it, where it is a template.
        path = tmp_path / unit.name.replace("@", "@intake-1")
        text = unit.read_text()
        if unit.suffix == ".service":
            text = replaced(text, (PROGRAMS, str(Path(sys.executable).parent)))
        path.write_text(text)
        paths.append(str(path))
    return paths


def analyze(*words: str) -> subprocess.CompletedProcess[str]:
    # Without a locale and a terminal, it says the same everywhere.
    return subprocess.run(
        [program("systemd-analyze"), "--no-pager", *words],
        capture_output=True, text=True, env=os.environ | {"LC_ALL": "C.UTF-8"},
    )  # fmt: skip


def test_systemd_understands_every_line(installed):
    found = analyze("verify", *installed)

    assert len(installed) == 8
    assert (found.returncode, found.stdout, found.stderr) == (0, "", "")


def test_nothing_is_open_that_need_not_be(installed):
    for unit in installed:
        if unit.endswith(".timer"):
            continue
        found = analyze(
            "security", "--offline=true", f"--threshold={MOST_EXPOSED.replace('.', '')}", unit
        )

        assert found.returncode == 0, found.stdout


def test_what_may_be_done_is_the_same_in_all_units():
    always_on = [unit for unit in UNITS if unit not in BY_THE_CLOCK]
    first, *others = (OWN.sub("", unit.read_text()) for unit in always_on)

    assert "ProtectSystem=strict\n" in first
    assert "SystemCallFilter=" in first
    assert [other for other in others if other != first] == []


@pytest.mark.parametrize(
    ("name", "writable"),
    [("viewer-backup", "/var/lib/viewer /mnt/backup/viewer"), ("viewer-drill", "/var/lib/viewer")],
)
def test_backup_and_drill_may_do_no_more_and_write_no_original(name, writable):
    usual = (DEPLOY / "systemd" / "viewer-schedule.service").read_text().splitlines()
    own = (DEPLOY / "systemd" / f"{name}.service").read_text().splitlines()

    added = [line for line in own if line not in usual and not OWN.match(f"{line}\n")]
    assert added == [
        "RequiresMountsFor=/var/lib/viewer /srv/viewer/media /mnt/backup",
        "Type=oneshot",
        "User=viewer-backup",
        "SupplementaryGroups=www-data",
        "TimeoutStartSec=infinity",
        "Nice=10",
        "IOSchedulingClass=idle",
        f"ReadWritePaths={writable}",
    ]
    hardening = usual[usual.index("UMask=0077") : usual.index("[Install]")]
    assert [line for line in hardening if line not in own] == []


@pytest.mark.parametrize(
    ("unit", "instance", "words"),
    [
        ("viewer.service", "", "up --host 127.0.0.1 --port 8000"),
        ("viewer-web.service", "", "web --host 127.0.0.1 --port 8000"),
        ("viewer-schedule.service", "", "schedule"),
        ("viewer-backup.service", "", "backup --to /mnt/backup/viewer"),
        ("viewer-drill.service", "", "drill --from /mnt/backup/viewer"),
        ("viewer-work@.service", "intake-1", "work intake"),
        ("viewer-work@.service", "copies-12", "work copies"),
        ("viewer-work@.service", "copies", "work copies"),
    ],
)
def test_each_unit_starts_a_command_of_ours(unit, instance, words):
    [started] = re.findall(r"^ExecStart=(.*)$", (DEPLOY / "systemd" / unit).read_text(), re.M)
    # As systemd reads it: its own signs are written twice, and %i is the instance.
    ours = replaced(started, (f"{PROGRAMS}/viewer", "echo"))
    for sign, meaning in (("%%", "%"), ("$$", "$"), ("%i", instance)):
        ours = ours.replace(sign, meaning)

    said = subprocess.run(shlex.split(ours), check=True, capture_output=True, text=True).stdout
    known = CliRunner().invoke(viewer, [*words.split(), "--help"])

    assert said == f"{words}\n"
    assert known.exit_code == 0
