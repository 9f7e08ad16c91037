"""The kinds of target as anybody sees them who has only their own tools."""

import shutil
import subprocess
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pytest

from tests.support.object_stores import CREDENTIALS, ObjectStore
from tests.support.ssh_hosts import SSHHost
from tests.upkeep.backup.conftest import overwrite


class Kind(Protocol):
    """A place for backups, seen past the viewer."""

    url: str

    def mirror(self) -> Path:
        """A folder with all that it holds now."""
        ...

    def overwrite(self, key: str, content: bytes) -> None: ...

    def remove(self, key: str) -> None: ...


@dataclass
class InFolder:
    path: Path

    @property
    def url(self) -> str:
        return f"folder:{self.path}"

    def mirror(self) -> Path:
        return self.path

    def overwrite(self, key: str, content: bytes) -> None:
        (self.path / key).parent.mkdir(parents=True, exist_ok=True)
        if (self.path / key).exists():
            overwrite(self.path / key, content)
        else:
            (self.path / key).write_bytes(content)

    def remove(self, key: str) -> None:
        (self.path / key).unlink()


@dataclass
class OverSSH(InFolder):
    """The other host is this one: its folder can be looked into directly."""

    host: SSHHost

    @property
    def url(self) -> str:
        return self.host.url(self.path)


@dataclass
class InBucket:
    server: ObjectStore
    bucket: str
    prefix: str
    scratch: Path
    port: int | None = None  # of a proxy in front

    @property
    def url(self) -> str:
        return self.server.address(self.bucket, self.prefix, self.port)

    def mirror(self) -> Path:
        number = len(list(self.scratch.parent.glob(f"{self.scratch.name}*")))
        folder = self.scratch.with_name(f"{self.scratch.name}-{number}")
        for key in self.names():
            path = folder / key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(self._client.get_object(**self._at(key))["Body"].read())
        folder.mkdir(exist_ok=True)
        return folder

    def names(self) -> list[str]:
        found = self._client.list_objects_v2(Bucket=self.bucket, Prefix=f"{self.prefix}/")
        return [one["Key"].removeprefix(f"{self.prefix}/") for one in found.get("Contents", [])]

    def overwrite(self, key: str, content: bytes) -> None:
        self._client.put_object(**self._at(key), Body=content)

    def remove(self, key: str) -> None:
        self._client.delete_object(**self._at(key))

    @property
    def _client(self) -> Any:
        return self.server.client

    def _at(self, key: str) -> dict[str, str]:
        return {"Bucket": self.bucket, "Key": f"{self.prefix}/{key}"}


@pytest.fixture(params=["folder", "s3", pytest.param("ssh", marks=pytest.mark.proof)])
def kind(request: pytest.FixtureRequest, tmp_path: Path) -> Kind:
    if request.param == "folder":
        return InFolder(tmp_path / "backup")
    if request.param == "ssh":
        return OverSSH(tmp_path / "backup", request.getfixturevalue("ssh_host"))
    server = request.getfixturevalue("object_store")
    bucket = request.getfixturevalue("shared_bucket")
    return InBucket(server, bucket, f"backup/{uuid.uuid4()}", tmp_path / "mirror")


def access(request: pytest.FixtureRequest) -> dict[str, Any]:
    """The settings by which the kind of this test is reached."""
    needed: dict[str, Any] = {
        "BACKUP_S3_ACCESS_KEY_ID": CREDENTIALS.access_key_id,
        "BACKUP_S3_SECRET_ACCESS_KEY": CREDENTIALS.secret_access_key,
    }
    if "ssh" in request.node.name:
        needed["BACKUP_SSH_CONFIG"] = request.getfixturevalue("ssh_host").config
    return needed


# --- restic, which is no store -------------------------------------------------------------


@pytest.fixture
def password(tmp_path: Path) -> Path:
    if shutil.which("restic") is None:
        pytest.skip("needs restic")
    path = tmp_path / "password"
    path.write_text("not-a-secret")
    return path


@pytest.fixture
def repository(tmp_path: Path, password: Path) -> Path:
    path = tmp_path / "repository"
    restic(path, password, "init")
    return path


def restic(repository: Path, password: Path, *words: str) -> None:
    subprocess.run(
        ["restic", f"--repo={repository}", f"--password-file={password}", "--no-cache", *words],
        check=True, capture_output=True,
    )  # fmt: skip
