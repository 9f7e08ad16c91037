"""S3 servers from wheels: SeaweedFS, which does what S3 does, and rclone, which does not."""

import contextlib
import json
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import botocore.auth
import pytest
import time_machine
from botocore.config import Config

from tests.support.servers import free_ports, wait_until
from viewer.storage.s3.address import Credentials

CREDENTIALS = Credentials("viewer-tests", "not-a-secret")
REGION = "us-east-1"
SETTINGS = {
    "S3_ACCESS_KEY_ID": CREDENTIALS.access_key_id,
    "S3_SECRET_ACCESS_KEY": CREDENTIALS.secret_access_key,
}


@dataclass(frozen=True, slots=True)
class ObjectStore:
    """A running server; its own client looks past the viewer."""

    port: int
    host: str = "127.0.0.1"

    @property
    def endpoint(self) -> str:
        return f"http://{self.host}:{self.port}"

    @property
    def client(self) -> Any:
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=CREDENTIALS.access_key_id,
            aws_secret_access_key=CREDENTIALS.secret_access_key,
            region_name=REGION,
            config=Config(
                s3={"addressing_style": "path"},
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            ),
        )

    def new_bucket(self) -> str:
        name = f"photos-{uuid.uuid4().hex[:12]}"
        self.client.create_bucket(Bucket=name)
        return name

    def address(self, bucket: str, prefix: str = "", port: int | None = None) -> str:
        """What `storage.from_url` takes; `port` is that of a proxy in front, if there is one."""
        place = f"{bucket}/{prefix}" if prefix else bucket
        endpoint = f"http://{self.host}:{port or self.port}"
        return f"s3://{place}?endpoint={endpoint}&region={REGION}&style=path"


def sign_by_the_real_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a test's clock stands elsewhere, S3 would refuse us: it compares ours with its own."""
    hatch = time_machine.escape_hatch

    def right_now(remove_tzinfo: bool = True) -> Any:
        now = hatch.datetime.datetime.now if hatch.is_travelling() else datetime.now
        moment = now(UTC)
        return moment.replace(tzinfo=None) if remove_tzinfo else moment

    monkeypatch.setattr(botocore.auth, "get_current_datetime", right_now)


@contextlib.contextmanager
def running_seaweed(host: str = "127.0.0.1") -> Iterator[ObjectStore]:
    with tempfile.TemporaryDirectory(prefix="weed") as name:
        folder = Path(name)
        (folder / "data").mkdir()
        config = folder / "s3.json"
        config.write_text(json.dumps({"identities": [_identity()]}))
        s3, s3_rpc, master, master_rpc, volume, volume_rpc, filer, filer_rpc, admin, admin_rpc = (
            free_ports(10)
        )
        # Without each of these it opens ports that everybody has, or reports home.
        command = [
            program("weed"), f"-logdir={folder}", "mini", f"-dir={folder / 'data'}",
            f"-ip={host}", f"-ip.bind={host}", f"-s3.config={config}",
            f"-s3.port={s3}", f"-s3.port.grpc={s3_rpc}",
            f"-master.port={master}", f"-master.port.grpc={master_rpc}",
            f"-volume.port={volume}", f"-volume.port.grpc={volume_rpc}",
            f"-filer.port={filer}", f"-filer.port.grpc={filer_rpc}",
            "-admin.ui=false", f"-admin.port={admin}", f"-admin.port.grpc={admin_rpc}",
            "-s3.port.iceberg=0", "-s3.port.lance=0", "-webdav=false",
            "-master.telemetry=false", "-master.volumeSizeLimitMB=64",
        ]  # fmt: skip
        with _running(command, folder, f"http://{host}:{s3}/status"):
            yield ObjectStore(s3, host)


@contextlib.contextmanager
def running_rclone() -> Iterator[ObjectStore]:
    """A server that overwrites what it should not, and believes any checksum."""
    with tempfile.TemporaryDirectory(prefix="rclone") as name:
        folder = Path(name)
        (folder / "data").mkdir()
        [port] = free_ports(1)
        command = [
            program("rclone"), f"--config={folder / 'none'}", "serve", "s3",
            f"--addr=127.0.0.1:{port}",
            f"--auth-key={CREDENTIALS.access_key_id},{CREDENTIALS.secret_access_key}",
            str(folder / "data"),
        ]  # fmt: skip
        with _running(command, folder, f"http://127.0.0.1:{port}/"):
            yield ObjectStore(port)


def _identity() -> dict[str, Any]:
    return {
        "name": "viewer",
        "credentials": [
            {
                "accessKey": CREDENTIALS.access_key_id,
                "secretKey": CREDENTIALS.secret_access_key,
            }
        ],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }


def program(name: str) -> str:
    """From its wheel, beside the Python that runs the tests."""
    return str(Path(sys.executable).with_name(name))


@contextlib.contextmanager
def _running(command: list[str], folder: Path, url: str) -> Iterator[None]:
    with (folder / "out").open("wb") as out:
        process = subprocess.Popen(
            command, cwd=folder, stdout=out, stderr=out, env={"HOME": str(folder), "PATH": ""}
        )
    try:
        wait_until(lambda: _answers(url))
        yield
    finally:
        process.kill()  # its data goes with the folder: there is nothing to end in order
        process.wait()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2):  # noqa: S310 - loopback
            return True
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
