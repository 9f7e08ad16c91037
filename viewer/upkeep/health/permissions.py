"""The alarm of folders that other users of this machine can look into.

Nothing is altered: the page says which command does. Whoever cannot come to a folder, because one
above it is closed, cannot look into it either.
"""

import contextlib
import stat
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

from sqlalchemy.engine import make_url

from viewer.config import settings
from viewer.upkeep.health.figures import Alarm, Health, Level

_OTHERS_READ = stat.S_IROTH | stat.S_IWOTH


def open_to_others(_found: Health, _moment: datetime) -> Iterable[Alarm]:
    if found := list(_open_paths()):
        steps = [f"chmod o-rwx {' '.join(str(path) for path in found)}"]
        if settings().X_ACCEL_PREFIX and settings().media_root in found:
            # Closed like that, nginx would be shut out, too.
            root = settings().media_root
            steps.insert(0, f"chgrp -R www-data {root}")
            steps.append(f"chmod -R g+rX {root} && find {root} -type d -exec chmod g+s {{}} +")
        yield Alarm(
            "open_to_others",
            Level.ATTENTION,
            "Other users of this machine can read what customers sent.",
            f"As root: {' && '.join(steps)}; then restart. See docs/operations.md, “Who may read"
            " the files”.",
        )


def _open_paths() -> Iterable[Path]:
    current = settings()
    for folder in (current.media_root, *_local_targets(current.BACKUP_TARGETS)):
        if _mode(folder) & stat.S_IRWXO and _is_reached(folder):
            yield folder
    # Others may have to pass through DATA_DIR to the media folder: its files count.
    data = current.data_dir
    if _mode(data) & _OTHERS_READ and _is_reached(data):
        yield data
    database = make_url(current.database_url)
    files = [data / "secret_key"]
    if database.get_backend_name() == "sqlite":
        files += [Path(f"{database.database}{ending}") for ending in ("", "-wal", "-shm")]
    yield from (file for file in files if _mode(file) & _OTHERS_READ and _is_reached(file))


def _local_targets(targets: Iterable[str]) -> Iterable[Path]:
    return (Path(path) for one in targets if (path := one.removeprefix("folder:")).startswith("/"))


def _mode(path: Path) -> int:
    """0 for what is not there, or not ours to look at."""
    with contextlib.suppress(OSError):
        return path.stat().st_mode
    return 0


def _is_reached(path: Path) -> bool:
    return all(_mode(parent) & stat.S_IXOTH for parent in path.absolute().parents)
