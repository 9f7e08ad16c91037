"""Progress bars of long commands."""

import sys
from contextlib import ExitStack
from typing import Any

import click


class Bars:
    """A progress bar for each stage, on a terminal."""

    def __enter__(self) -> "Bars":
        self._leaving = ExitStack()
        self._bar: Any = None
        return self

    def begin(self, stage: str, length: int) -> None:
        self._leaving.close()
        bar = click.progressbar(length=length, label=stage, hidden=not sys.stderr.isatty())
        self._bar = self._leaving.enter_context(bar)

    def advance(self, count: int) -> None:
        self._bar.update(count)

    def __exit__(self, *_error: object) -> None:
        self._leaving.close()
