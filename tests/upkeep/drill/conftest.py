"""A viewer with a backup, and a drill of it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.upkeep.backup.conftest import back_up as back_up
from tests.upkeep.backup.conftest import found as found
from tests.upkeep.backup.conftest import keep as keep
from tests.upkeep.backup.conftest import place as place
from tests.upkeep.backup.conftest import settings as settings
from tests.upkeep.restore.conftest import programs as programs
from viewer.upkeep.drill import run
from viewer.upkeep.drill.run import Result


@pytest.fixture
def drill(app, place: Path, programs: None) -> Callable[..., Result]:
    return lambda **words: run.drill(f"folder:{place}", **words)
