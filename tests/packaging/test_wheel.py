"""The wheel holds all that the viewer needs, and runs where there is no checkout."""

import os
import re
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from tests.support.hosts import Up
from tests.support.servers import wait_until

ROOT = Path(__file__).parent.parent.parent
pytestmark = pytest.mark.proof  # it builds, installs and starts a whole host


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built with the locked backend, from nothing but this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation",
         "--no-index", "-w", str(folder), str(ROOT)],
        check=True,
    )  # fmt: skip
    [built] = folder.glob("*.whl")
    return built


@pytest.fixture
def installed(wheel: Path, tmp_path: Path) -> Path:
    """The `bin` of an environment with the wheel, our dependencies, and no way to the checkout."""
    environment = tmp_path / "env"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    python = environment / "bin" / "python"
    subprocess.run(
        [sys.executable, "-m", "pip", "--python", str(python), "install", "-q", "--no-deps",
         "--no-index", str(wheel)],
        check=True,
    )  # fmt: skip
    # Python searches a folder that a .pth file names, but not that folder's own .pth files, such
    # as the one of the editable install.
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    site = environment / "lib" / version / "site-packages"
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return environment / "bin"


def test_the_wheel_holds_every_file(wheel):
    tracked = subprocess.run(
        ["git", "ls-files", "viewer", "templates", "static", "migrations"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    expected = {name if name.startswith("viewer/") else f"viewer/{name}" for name in tracked}

    with zipfile.ZipFile(wheel) as archive:
        held = set(archive.namelist())

    assert len(expected) > 300
    assert expected <= held
    assert not any(name.startswith(("tests/", "docs/")) for name in held)


def test_an_installed_viewer_runs_from_any_folder(installed, tmp_path, monkeypatch):
    for name in ("PYTHONPATH", "PYTHONHOME"):
        monkeypatch.delenv(name, raising=False)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()

    up = Up(elsewhere, command=[str(installed / "viewer")], PYTHONPATH="")
    try:
        up.wait()
        browser = up.browser()
        page = browser.get(up.url, timeout=60)
        sheet = re.search(r'<link rel="stylesheet" href="([^"]+)"', page.text)

        assert page.status_code == 200
        assert sheet
        assert browser.get(up.url + sheet[1], timeout=60).status_code == 200
        assert up.rows("SELECT count(*) FROM alembic_version") == [(1,)]
        code = "import viewer; print(viewer.__file__)"
        where = subprocess.run(
            [installed / "python", "-c", code],
            cwd=elsewhere, env=os.environ | {"PYTHONPATH": ""}, capture_output=True, text=True,
            check=True,
        ).stdout  # fmt: skip
        assert str(ROOT) not in where
    finally:
        up.process.terminate()
        wait_until(lambda: up.process.poll() is not None)


def test_the_version_is_the_one_of_the_project(installed):
    told = subprocess.run(
        [installed / "viewer", "--version"], capture_output=True, text=True, check=True,
        env=os.environ | {"PYTHONPATH": ""}, cwd=installed,
    ).stdout  # fmt: skip

    assert f'version = "{told.strip()}"' in (ROOT / "pyproject.toml").read_text()
