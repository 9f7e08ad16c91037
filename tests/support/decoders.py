"""The processes that decode for this one."""

import contextlib

import psutil


def zygotes() -> list[psutil.Process]:
    return _children_with("derive.zygote")


def decoders() -> list[psutil.Process]:
    """The children that decode; the servers of other tests are our children, too."""
    forked, ours = [], zygotes()
    for zygote in ours:
        with contextlib.suppress(psutil.NoSuchProcess):
            forked += zygote.children()
    return forked + [child for child in _children_with("derive.sandbox") if child not in ours]


def _children_with(words: str) -> list[psutil.Process]:
    found = []
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.NoSuchProcess):  # it ended just now
            if words in " ".join(child.cmdline()):
                found.append(child)
    return found
