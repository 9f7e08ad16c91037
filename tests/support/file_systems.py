"""File systems that the machines of the tests cannot mount."""

import errno
import os

import pytest


def without_hard_links(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on exFAT: link() is not permitted, and the rename that replaces nothing is there."""

    def link(*_words: object, **_named: object) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", link)
