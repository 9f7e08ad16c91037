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
from viewer.holdings.moving import Moved, Outcome, StrangeFile, WrongBytes, clear_former, move
from viewer.holdings.pushing import due, due_from_now, push, push_now, put_off
from viewer.holdings.stores import (
    expect,
    init_app,
    is_within_reach,
    own,
    own_id,
    remove_everywhere,
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
    "clear_former",
    "compare_bytes",
    "compare_size",
    "due",
    "due_from_now",
    "expect",
    "find_original",
    "init_app",
    "is_within_reach",
    "move",
    "open_file",
    "own",
    "own_id",
    "push",
    "push_now",
    "put_off",
    "remove_everywhere",
    "spool",
    "store",
    "store_of",
    "unproven",
    "wanted_id",
]
