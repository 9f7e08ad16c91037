"""What the viewer keeps is for its own user: whoever else has an account here reads nothing."""

import os
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import requests

from tests.commands.conftest import ROOT
from tests.deploy.conftest import program
from tests.support.children import in_child
from tests.support.pictures import picture
from tests.support.servers import free_port, wait_until
from viewer import config
from viewer.extensions import db
from viewer.models import MediaAttachment
from viewer.storage.workspace import FilePart
from viewer.upkeep import health

NOBODY, NGINX = 65534, 33  # Debian's ids


def modes(folder: Path) -> dict[str, int]:
    """Of all that lies in it, but for the lock that a second user shares."""
    return {
        path.relative_to(folder).as_posix(): stat.S_IMODE(path.lstat().st_mode)
        for path in [folder, *folder.rglob("*")]
        if path.name != "use.lock" and not path.is_symlink()
    }


def test_a_command_makes_nothing_that_others_may_read(console, tmp_path):
    data = tmp_path / "data"
    done = console(
        "user", "add", "olivia@crack.example", "--password-stdin",
        typed="two cracks in the wall\n", DATA_DIR=str(data),
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    found = modes(data)
    assert {"viewer.db", "secret_key", "media"} <= set(found)
    assert {name: oct(mode) for name, mode in found.items() if mode & 0o077} == {}


@pytest.mark.parametrize(("mode", "umask"), [(0o700, 0o077), (0o711, 0o077), (0o2750, 0o027)])
def test_any_web_server_has_the_umask_of_the_media_folder(mode, umask, environment, tmp_path):
    """wsgi.py, under any server: its group may read what is made where it may read the folder."""
    (tmp_path / "media").mkdir()
    (tmp_path / "media").chmod(mode)
    program = "import os; os.umask(0o022)\ntry: import wsgi\nfinally: print(os.umask(0))"
    said = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True,
        env=environment | {"DATA_DIR": str(tmp_path), "MEDIA_ROOT": str(tmp_path / "media")},
    )  # fmt: skip

    assert int(said.stdout) == umask, said.stderr


@pytest.mark.parametrize(("folder", "file"), [(0o700, 0o400), (0o2750, 0o440), (0o755, 0o444)])
def test_a_file_is_read_by_whom_its_folder_lets_in(folder, file, tmp_path):
    (tmp_path / ".incoming").mkdir()
    (tmp_path / ".incoming").chmod(folder)
    part = FilePart(tmp_path / ".incoming")
    part.write(b"a crack")
    part.seal()

    assert stat.S_IMODE(part.path.stat().st_mode) == file


# --- The alarm -----------------------------------------------------------------------------


@pytest.fixture
def shared():
    """A folder that every account of this machine can come to."""
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def alarm(app, **changes):
    app.config["SETTINGS"] = app.config["SETTINGS"].model_copy(update=changes)
    found = health.read_health({}).alarms
    return next((one for one in found if one.name == "open_to_others"), None)


def test_folders_that_others_read_are_an_alarm_with_the_command_that_closes_them(app, shared):
    for name in ("data", "media", "backup"):
        (shared / name).mkdir()
        (shared / name).chmod(0o755)
    where = {
        "DATA_DIR": shared / "data", "MEDIA_ROOT": shared / "media",
        "BACKUP_TARGETS": (f"folder:{shared}/backup",),
    }  # fmt: skip

    found = alarm(app, **where)
    behind_nginx = alarm(app, X_ACCEL_PREFIX="/stored")

    assert str(shared) not in found.words
    command = found.step.partition("As root: ")[2].partition(";")[0]
    assert command == f"chmod o-rwx {shared}/media {shared}/backup {shared}/data"
    assert f"chgrp -R www-data {shared}/media && chmod o-rwx" in behind_nginx.step
    subprocess.run(command, shell=True, check=True)  # noqa: S602 - ours
    assert alarm(app, X_ACCEL_PREFIX="") is None


def test_files_count_where_others_may_pass_through_the_folder(app, shared):
    data = shared / "data"
    (data / "media").mkdir(parents=True)
    (data / "media").chmod(0o2750)
    data.chmod(0o711)
    (data / "viewer.db").touch(mode=0o600)
    closed = {"DATA_DIR": data, "DATABASE_URL": type(app.config["SETTINGS"].DATABASE_URL)("")}
    assert alarm(app, **closed) is None

    (data / "viewer.db").chmod(0o644)

    assert f"chmod o-rwx {data}/viewer.db;" in alarm(app).step
    shared.chmod(0o700)
    assert alarm(app) is None  # nobody comes to it


# --- nginx ---------------------------------------------------------------------------------

SITE = """
pid {folder}/pid; error_log {folder}/error; daemon off; user www-data;
events {{ }}
http {{ access_log off; server {{ listen 127.0.0.1:{port}; root {media}; }} }}
"""


@pytest.fixture
def media(shared):
    """As deploy/README.md makes it."""
    folder = shared / "media"
    folder.mkdir()
    os.chown(folder, -1, NGINX)
    folder.chmod(0o2750)
    return folder


@pytest.fixture
def settings(settings, request):
    if "media" in request.fixturenames:
        return settings | {"MEDIA_ROOT": request.getfixturevalue("media")}
    return settings


@pytest.mark.proof
@pytest.mark.on_folder("nginx reads a folder")
def test_nginx_reads_an_original_by_its_group_and_nobody_else_does(
    media, app, deliver, work, provider, message, shared
):
    config.restrict_new_files(app.config["SETTINGS"])
    deliver(message(media=[provider.serve(picture(), content_type="image/jpeg")]).payload())
    work()
    stored = db.session.scalars(db.select(MediaAttachment)).one().file_path
    db.session.rollback()
    port, folder = free_port(), shared / "nginx"
    folder.mkdir()
    (folder / "nginx.conf").write_text(SITE.format(folder=folder, port=port, media=media))
    server = subprocess.Popen([program("nginx"), "-c", str(folder / "nginx.conf")])
    try:
        wait_until(lambda: status_of(port, "nothing") is not None)
        assert status_of(port, stored) == 200
    finally:
        server.terminate()
        server.wait()

    def read_as_nobody() -> None:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
        with pytest.raises(PermissionError):
            (media / stored).read_bytes()

    in_child(read_as_nobody)


def status_of(port: int, path: str) -> int | None:
    try:
        return requests.get(f"http://127.0.0.1:{port}/{path}", timeout=5).status_code
    except requests.ConnectionError:
        return None
