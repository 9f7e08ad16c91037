"""Disks that a test may fill, break, take away, or cut the power of. As root, on Linux."""

import contextlib
import fcntl
import functools
import os
import shutil
import struct
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

EXT4_SHUTDOWN = 0x8004587D  # _IOR('X', 125, __u32)
SHUTDOWN_WITHOUT_FLUSH = 2


class Disk:
    """An ext4 file system in an image. It writes nothing by itself: only what is synced stays."""

    def __init__(self, stack: contextlib.ExitStack, size: str = "48M") -> None:
        self._folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=fast_folder())))
        self._folder.chmod(0o755)
        self._image = self._folder / "image"
        shell("truncate", "-s", size, str(self._image))
        shell("mkfs.ext4", "-q", "-F", "-m", "0", "-J", "size=4", str(self._image))
        self.path = self._folder / "disk"
        self.mount()
        stack.callback(unmount, self.path)

    def mount(self) -> None:
        self.path.mkdir(exist_ok=True)
        shell("mount", "-o", "loop,commit=300", str(self._image), str(self.path))

    def sync(self) -> None:
        """What is there now stays; the loss that a test is about comes after."""
        shell("sync", "-f", str(self.path))

    @contextlib.contextmanager
    def after_power_cut(self) -> Iterator[Path]:
        """The disk as it would be if the power had failed now: what never reached it is gone."""
        copy, mounted = self._folder / "cut", self._folder / "after"
        shell("cp", "--sparse=always", "--reflink=never", str(self._image), str(copy))
        mounted.mkdir(exist_ok=True)
        shell("mount", "-o", "loop,commit=300", str(copy), str(mounted))  # replays the journal
        try:
            yield mounted
        finally:
            unmount(mounted)
            copy.unlink()

    def die(self) -> None:
        """Every write fails from now on, until it is unmounted and mounted again."""
        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, EXT4_SHUTDOWN, struct.pack("I", SHUTDOWN_WITHOUT_FLUSH))
        finally:
            os.close(descriptor)

    def come_back(self) -> None:
        """As a new disk with the same bytes.

        While a test beside this one holds a copy of our mounts (`unshare`), the dead file system
        lives on, and its own image would be mounted as dead.
        """
        unmount(self.path)
        dead, self._image = self._image, self._folder / f"image-{uuid.uuid4()}"
        shell("cp", "--sparse=always", "--reflink=never", str(dead), str(self._image))
        dead.unlink()
        self.mount()


@contextlib.contextmanager
def tmpfs(folder: Path, options: str) -> Iterator[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    shell("mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder))
    try:
        yield folder
    finally:
        unmount(folder)


def remount(folder: Path, options: str) -> None:
    shell("mount", "-o", f"remount,{options}", str(folder))


def unmount(folder: Path) -> None:
    shell("umount", str(folder))


def shell(*words: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(words)}: {done.stderr}"


@contextlib.contextmanager
def watched(pid: int, log: Path, *options: str) -> Iterator[None]:
    """The system calls of this process and its threads, from now on, into `log`."""
    command = ["strace", "-f", "-y", "-s", "40", "-o", str(log), *options, "-p", str(pid)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as strace:
        assert strace.stderr is not None
        said = ""
        while "attached" not in said:
            line = strace.stderr.readline()
            assert line, said or "strace ended"
            said += line
        try:
            yield
        finally:
            strace.terminate()


def needs_mounts() -> None:
    """Skip, with the reason, where no file system may be mounted."""
    if reason := _why_no_mounts():
        pytest.skip(reason)


def needs_strace() -> None:
    """Skip, with the reason, where no system call may be watched."""
    if reason := _why_no_strace():
        pytest.skip(reason)


@functools.cache
def _why_no_mounts() -> str | None:
    if os.geteuid() != 0:
        return "needs root: file systems are mounted"
    if missing := [name for name in ("mkfs.ext4", "mount", "umount") if not shutil.which(name)]:
        return f"needs {', '.join(missing)}"
    try:
        with contextlib.ExitStack() as stack:
            Disk(stack, "16M")
    except AssertionError as reason:
        return f"needs loop devices: {reason}"
    return None


@functools.cache
def _why_no_strace() -> str | None:
    if not shutil.which("strace"):
        return "needs strace"
    with subprocess.Popen(["sleep", "20"]) as bystander:
        try:
            with watched(bystander.pid, Path(os.devnull)):
                pass
        except AssertionError as reason:
            return f"strace may not trace here: {reason}"
        finally:
            bystander.kill()
    return None


def fast_folder() -> str | None:
    memory = Path("/dev/shm")  # noqa: S108 - only to be quick; what is "synced" is decided by ext4
    return str(memory) if memory.is_dir() and os.access(memory, os.W_OK) else None
