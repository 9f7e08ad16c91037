"""What disks and people do to files."""

import os
from pathlib import Path


def harm(path: Path, how: str) -> None:
    """Do this to a file: flipped, cut, emptied, symlink, pipe, folder or missing."""
    content = path.read_bytes()
    path.unlink()
    match how:
        case "flipped":
            path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        case "cut":
            path.write_bytes(content[:-1])
        case "emptied":
            path.write_bytes(b"")
        case "symlink":
            target = path.with_name("elsewhere")
            target.write_bytes(content)
            path.symlink_to(target)
        case "pipe":
            os.mkfifo(path)
        case "folder":
            path.mkdir()
        case "missing":
            pass
