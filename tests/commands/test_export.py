"""`viewer export` says what it wrote, in words and by its exit status."""

import pytest
from click.testing import CliRunner

from tests.support import stored_files
from viewer.commands import viewer

pytestmark = pytest.mark.on_folder("links to files of this host's folder")


@pytest.fixture
def settings(settings, tmp_path):
    for name in ("data", "photos"):
        (tmp_path / name).mkdir()
    return settings | {"DATA_DIR": tmp_path / "data", "MEDIA_ROOT": tmp_path / "photos"}


@pytest.fixture
def run(app, settings, monkeypatch):
    """The command, as a shell would run it beside this viewer."""
    for name in ("DATA_DIR", "MEDIA_ROOT", "DATABASE_URL", "REDIS_URL", "SECRET_KEY"):
        monkeypatch.setenv(name, str(settings[name]))
    return lambda *words: CliRunner().invoke(viewer, ["export", *words])


def test_it_exits_with_0_and_names_the_manifest(run, tmp_path):
    stored_files.keep()

    done = run("--to", str(tmp_path / "export"), "--links")

    manifest = (tmp_path / "export" / "manifest.jsonl").resolve()
    assert (done.exit_code, done.stdout) == (0, f"1 original in {manifest}\n")


def test_it_exits_with_1_where_the_store_lacks_one(run, tmp_path):
    media = stored_files.keep()
    stored_files.path_of(media).unlink()

    done = run("--to", str(tmp_path / "export"), "--links")

    assert done.exit_code == 1
    assert "0 originals in" in done.stdout
    assert media.file_path in done.stderr
    assert "viewer verify" in done.stderr


def test_it_exits_with_2_where_it_must_not_write(run, tmp_path):
    done = run("--to", str(tmp_path / "data" / "export"))

    assert done.exit_code == 2
    words = f"{tmp_path / 'data' / 'export'} is in DATA_DIR: name a folder elsewhere."
    assert done.stderr.endswith(f"viewer: {words}\n")
