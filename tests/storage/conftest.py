"""S3 behind a proxy that makes its faults."""

import hashlib
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.fault_proxy import FaultProxy
from tests.support.object_stores import CREDENTIALS, ObjectStore
from viewer.storage.s3.address import S3Address
from viewer.storage.s3.client import DEFAULT_LIMITS, Limits
from viewer.storage.s3.store import S3


@pytest.fixture
def prefix() -> str:
    return f"test/{uuid.uuid4()}"


@pytest.fixture
def proxy(object_store: ObjectStore) -> Iterator[FaultProxy]:
    with FaultProxy(object_store.port) as proxy:
        yield proxy


@pytest.fixture
def connect(
    object_store: ObjectStore, shared_bucket: str, proxy: FaultProxy, prefix: str
) -> Callable[..., S3]:
    """This test's store in S3, seen through the proxy, unless `direct`."""

    def connect(bucket: str = shared_bucket, *, direct: bool = False, **limits: float) -> S3:
        port = None if direct else proxy.port
        address = object_store.address(bucket, prefix, port)
        return S3(
            S3Address.read(address), CREDENTIALS, Limits(**limits) if limits else DEFAULT_LIMITS
        )

    return connect


@pytest.fixture
def store(connect: Callable[..., S3]) -> S3:
    """Marked, expected and proven: no request for its marker stands in a fault's way."""
    direct = connect(direct=True)
    direct.mark("ours")
    return ready(connect())


def ready(store: S3) -> S3:
    store.expect("ours")
    assert not store.is_away()
    return store


@pytest.fixture
def part(tmp_path: Path) -> Callable[[bytes], Path]:
    """A sealed file with this content."""

    def write(content: bytes) -> Path:
        path = tmp_path / f"{hashlib.sha256(content).hexdigest()}.part"
        path.write_bytes(content)
        return path

    return write


@pytest.fixture
def stored(object_store: ObjectStore, shared_bucket: str, prefix: str) -> Callable[[str], bytes]:
    """What lies under a key, asked past the viewer."""

    def read(key: str) -> bytes:
        found = object_store.client.get_object(Bucket=shared_bucket, Key=f"{prefix}/{key}")
        with found["Body"] as body:
            return bytes(body.read())

    return read
