"""Which store holds which row's bytes: the only place where rows meet stores.

Every file passes the spool, a local folder, and is stored in this host's own folder first: that
depends on nothing else. Where another store is wanted for new files, it is pushed there at once.
The row then names the store of its original and derivatives; after a move it also names the one
they came from, which still serves them should the other fail.
"""

from viewer.holdings import fallbacks
from viewer.holdings.files import (
    Finding,
    Handoff,
    WrongSize,
    check_file,
    compare_bytes,
    compare_size,
    find_original,
    hand_off,
    open_file,
    signed_address,
)
from viewer.holdings.moving import Moved, Outcome, StrangeFile, WrongBytes, clear_former, move
from viewer.holdings.pushing import due, due_from_now, push, push_now, put_off
from viewer.holdings.renaming import rename
from viewer.holdings.stores import (
    browser_origins,
    expect,
    init_app,
    is_within_reach,
    own,
    own_id,
    own_id_if_known,
    remove_everywhere,
    spool,
    store,
    store_of,
    unproven,
    wanted_id,
)

__all__ = [
    "Finding",
    "Handoff",
    "Moved",
    "Outcome",
    "StrangeFile",
    "WrongBytes",
    "WrongSize",
    "browser_origins",
    "check_file",
    "clear_former",
    "compare_bytes",
    "compare_size",
    "due",
    "due_from_now",
    "expect",
    "fallbacks",
    "find_original",
    "hand_off",
    "init_app",
    "is_within_reach",
    "move",
    "open_file",
    "own",
    "own_id",
    "own_id_if_known",
    "push",
    "push_now",
    "put_off",
    "remove_everywhere",
    "rename",
    "signed_address",
    "spool",
    "store",
    "store_of",
    "unproven",
    "wanted_id",
]
