"""Which store holds which row's bytes: the only place where rows meet stores.

Every file passes the spool, a local folder, and is stored in this host's own folder first: that
depends on nothing else. Where another store is wanted for new files, it is pushed there at once.
The row then names the store of its original and derivatives; after a move it also names the one
they came from, which still serves them should the other fail.
"""

from viewer.holdings.files import (
    Finding,
    WrongSize,
    check_file,
    compare_bytes,
    compare_size,
    find_original,
    open_file,
)
from viewer.holdings.moving import Moved, Outcome, StrangeFile, WrongBytes, move, tidy
from viewer.holdings.pushing import due_from_now, push, push_no_more, push_now
from viewer.holdings.stores import (
    expect,
    init_app,
    own,
    own_id,
    spool,
    store,
    store_of,
    unproven,
    wanted_id,
)

__all__ = [
    "Finding",
    "Moved",
    "Outcome",
    "StrangeFile",
    "WrongBytes",
    "WrongSize",
    "check_file",
    "compare_bytes",
    "compare_size",
    "due_from_now",
    "expect",
    "find_original",
    "init_app",
    "move",
    "open_file",
    "own",
    "own_id",
    "push",
    "push_no_more",
    "push_now",
    "spool",
    "store",
    "store_of",
    "tidy",
    "unproven",
    "wanted_id",
]
