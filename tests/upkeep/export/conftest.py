"""A viewer with photos, and a folder beside its data to export them to."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from viewer.extensions import db
from viewer.upkeep import export

Lines = list[dict[str, Any]]


@pytest.fixture
def settings(settings: dict[str, Any], tmp_path: Path) -> dict[str, Any]:
    for name in ("data", "photos"):
        (tmp_path / name).mkdir()
    return settings | {"DATA_DIR": tmp_path / "data", "MEDIA_ROOT": tmp_path / "photos"}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "export"


@pytest.fixture
def run(app: Any, place: Path) -> Callable[..., Lines]:
    """Export, and read the manifest as anybody would."""

    def export_all(*, links: bool = False) -> Lines:
        db.session.commit()
        export.run(place, links=links)
        return lines_of(place)

    return export_all


def lines_of(place: Path) -> Lines:
    return [json.loads(line) for line in (place / "manifest.jsonl").read_text().splitlines()]
