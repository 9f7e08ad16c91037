import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from viewer.derive import DEFAULT_LIMITS, Derived, Limits, derive, sniff


@pytest.fixture
def look(tmp_path: Path) -> Callable[..., Derived]:
    """Sniff and derive a file or bytes; the original must come out as it went in."""

    def look(original: Path | bytes, limits: Limits = DEFAULT_LIMITS) -> Derived:
        if isinstance(original, bytes):
            (tmp_path / "original").write_bytes(original)
            original = tmp_path / "original"
        into = tmp_path / "derived"
        into.mkdir(exist_ok=True)
        before = hashlib.sha256(original.read_bytes()).hexdigest()
        original.chmod(0o400)
        try:
            return derive(original, sniff(original.read_bytes()).mime_type, into, limits)
        finally:
            original.chmod(0o600)
            assert hashlib.sha256(original.read_bytes()).hexdigest() == before

    return look
