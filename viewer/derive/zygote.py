"""The zygote: a process that imports the decoders once, and forks a child for each original.

It is a fresh interpreter, so that a child has nothing of a worker's in its memory: no setting, no
secret, no connection. It decodes nothing itself and has no second thread, so each fork is of the
same clean process. Orders come as packets on standard input, a socket; `decoder` is the other end.
With each come five descriptors: a socket for this one order, the original, a file for answers, one
for errors, and the folder to work in. On the order's socket we say b"started", then the exit
status; if the other end closes, the child is killed, with its whole session.
"""

import contextlib
import gc
import json
import os
import resource
import select
import signal
import socket
import sys
import traceback
from types import CodeType
from typing import Any

from PIL import Image

from viewer.derive import confinement, sandbox
from viewer.derive.kinds.sniff import KINDS
from viewer.derive.pictures import decoding, display_p3
from viewer.derive.types import STARTED

ORDER_SIZE = 64 * 1024  # bytes
DESCRIPTORS = 5


def main(boot: str, parent: str) -> None:
    """Serve until the other end of standard input is closed, and with it that of each order."""
    sandbox.die_with(int(parent))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    Image.preinit()  # JPEG and PNG; what is rarer is imported when first needed
    display_p3.p3_to_srgb()  # of each photo of an iPhone
    confinement.prepare()
    code = compile(boot, "<boot>", "exec")
    with socket.socket(fileno=0) as control:
        _Zygote(control, code).serve()


class _Zygote:
    def __init__(self, control: socket.socket, code: CodeType) -> None:
        self._control, self._code = control, code
        self._is_open = True
        self._lines: dict[int, tuple[int, socket.socket]] = {}  # by descriptor: whose it is
        self._loaded: set[tuple[str, str]] = set()
        self._wake, wakes = os.pipe()
        os.set_blocking(self._wake, False)
        os.set_blocking(wakes, False)
        signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)  # the pipe says it
        self._ready = select.poll()
        for descriptor in (control.fileno(), self._wake):
            self._ready.register(descriptor, select.POLLIN)

    def serve(self) -> None:
        while self._is_open or self._lines:
            ready = {descriptor for descriptor, _ in self._ready.poll()}
            # New orders last: theirs may be given the numbers of sockets that were closed just now.
            for descriptor in ready & self._lines.keys():
                self._ready.unregister(descriptor)
                _kill(self._lines[descriptor][0])
            if self._wake in ready:
                os.read(self._wake, 4096)
                self._reap()
            if self._control.fileno() in ready:
                self._take_order()

    def _take_order(self) -> None:
        packet, descriptors, _, _ = socket.recv_fds(self._control, ORDER_SIZE, DESCRIPTORS)
        if not packet:
            self._is_open = False
            self._ready.unregister(self._control)
            return
        try:
            if len(descriptors) == DESCRIPTORS:  # else we may open no more
                self._fork(json.loads(packet), descriptors)
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    def _fork(self, order: dict[str, Any], descriptors: list[int]) -> None:
        self._load(order["task"], order["mime_type"])
        zygote = os.getpid()
        try:
            pid = os.fork()
        except OSError:  # the order's socket closes without a word
            return
        if pid == 0:
            _be_child(self._code, json.dumps(order | {"parent": zygote}), descriptors[1:])
        line = socket.socket(fileno=os.dup(descriptors[0]))
        self._lines[line.fileno()] = pid, line
        self._ready.register(line, select.POLLIN)
        _say(line, STARTED)

    def _load(self, task: str, mime_type: str) -> None:
        """Import what this order needs, before the fork: no other child pays for it."""
        if (task, mime_type) in self._loaded:
            return
        if sandbox.load(task, mime_type) and KINDS[mime_type].media_type == "photo":
            decoding.load_decoder(KINDS[mime_type])
        self._loaded.add((task, mime_type))
        gc.collect()
        gc.freeze()  # a child's collector then leaves these pages shared

    def _reap(self) -> None:
        while True:
            try:  # look first: as long as it is a zombie, its number is nobody else's
                dead = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if dead is None:
                return
            _kill(dead.si_pid)  # what it may have left in its session
            _, status = os.waitpid(dead.si_pid, 0)
            for descriptor, (pid, line) in list(self._lines.items()):
                if pid == dead.si_pid:
                    with contextlib.suppress(KeyError):  # taken out when it was told to end
                        self._ready.unregister(descriptor)
                    del self._lines[descriptor]
                    _say(line, str(os.waitstatus_to_exitcode(status)).encode())
                    line.close()


def _kill(pid: int) -> None:
    """Kill a child of ours that is not reaped, and its session, if it has come to have one."""
    os.kill(pid, signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


def _say(line: socket.socket, words: bytes) -> None:
    with contextlib.suppress(OSError):  # nobody waits for it any more
        line.send(words)


def _be_child(code: CodeType, order: str, descriptors: list[int]) -> None:
    """Run the boot code as a fresh interpreter would, and never return."""
    status = 1
    try:
        os.setsid()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        *files, folder = descriptors
        os.fchdir(folder)
        for number, descriptor in enumerate(files):
            os.dup2(descriptor, number)
        # The zygote's own, and those of other orders.
        os.closerange(3, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
        sys.argv[1:] = [order]
        exec(code, {"__name__": "__main__"})  # noqa: S102 (ours, not the stranger's)
        status = 0
    except SystemExit as asked:
        status = asked.code if isinstance(asked.code, int) else int(asked.code is not None)
        if isinstance(asked.code, str):
            print(asked.code, file=sys.stderr, flush=True)  # noqa: T201
    except BaseException:  # noqa: BLE001 (as the interpreter's own last resort)
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(status)
