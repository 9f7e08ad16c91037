"""What a decoder's process may do on this host: read code, write into its folder, compute.

It is handed everything else: the original and files for its answers are open when it starts. So a
hostile file that took it over cannot read a setting, the database or another original, reach a
socket or the network, start a program, or signal and look into other processes.
"""

import ctypes
import functools
import sys
from pathlib import Path

from viewer.derive import landlock, seccomp
from viewer.derive.libc import checked, libc

# Of libraries that C code loads when first needed; these folders hold code, no secrets.
_LIBRARIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib")
_PACKAGE = Path(__file__).parent

_PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 4, 38
_CAPABILITY_VERSION_3 = 0x20080522
_Header, _Sets = ctypes.c_uint32 * 2, ctypes.c_uint32 * 6  # of capget() and capset()


def missing() -> list[str]:
    """What this kernel, or the container around us, does not offer. Then decoders do without."""
    if sys.platform != "linux":
        return ["Landlock", "seccomp"]
    offered = {"Landlock": landlock.version() > 0, "seccomp": seccomp.is_known()}
    return [name for name, is_there in offered.items() if not is_there]


def prepare() -> None:
    """Work out what is the same for every process: a zygote does, so that its children need not."""
    _readable()
    if seccomp.is_known():
        seccomp.beginning()


def drop_rights() -> None:
    """Keep none that a decoder does not need, for ever. Raises OSError where one would be kept.

    Call it while there is one thread: others would keep theirs.
    """
    if sys.platform != "linux":
        return
    lacks = missing()
    sys.dont_write_bytecode = True  # of what is imported from now on: it would be refused
    checked(libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")
    _drop_capabilities()
    # Not even processes of the same user, its siblings among them, may look into it.
    checked(libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0), "not dumpable")
    if "Landlock" not in lacks:
        landlock.restrict(_readable(), ".")
    if "seccomp" not in lacks:
        seccomp.restrict()  # last: it allows nothing of the above


@functools.cache
def _readable() -> list[str]:
    """Folders where Python finds what is imported late: plug-ins of Pillow, codecs of texts.

    Only those of the interpreter: an editable installation has the whole checkout on the path, with
    whatever lies in it.
    """
    own = (Path(sys.prefix), Path(sys.base_prefix))
    paths = [path for path in map(Path, sys.path) if any(path.is_relative_to(one) for one in own)]
    found = {path.resolve() for path in (*paths, _PACKAGE, *map(Path, _LIBRARIES)) if path.is_dir()}
    return sorted(str(path) for path in found if found.isdisjoint(path.parents))


def _drop_capabilities() -> None:
    """For a viewer that runs as root: files and signals are then those of a user without rights."""
    header, held = _Header(_CAPABILITY_VERSION_3, 0), _Sets()
    libc.capget(header, held)
    # Asked for first, because a service manager may not allow the second call.
    if any(held):
        checked(libc.capset(header, _Sets()), "capabilities")
