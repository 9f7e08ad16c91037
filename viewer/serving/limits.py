"""How long a client may take, and how much it may hold."""

from dataclasses import dataclass

MIB = 1024 * 1024  # bytes


@dataclass(frozen=True, slots=True)
class Limits:
    """In seconds, bytes, and bytes a second."""

    head: float = 10.0  # after the first byte, or the connection
    body: float = 10.0
    body_rate: float = 100_000.0  # and so much longer for a large one
    stalled: float = 60.0  # a reader that takes nothing. nginx's send_timeout, too: a player that
    # has buffered enough asks again later
    reader_grace: float = 60.0  # after which a reader must have taken, on average, at least
    reader_rate: float = 2_000.0
    closing: float = 2.0  # for the client to read the end, before a reset
    lingering: float = 2.0  # of idle connections, while this process stops
    stuck: float = 60.0  # for the urgent threads to answer, before this process is replaced
    reported: float = 10.0  # between two reports of what was cut, at least

    connections: int = 1_000
    room: int = 32 * MIB  # for large bodies, all together
    turn: int = MIB  # sent by a thread before others have their turn


class Cut:
    """Why a connection was cut."""

    SLOW_HEAD = "slow_head"
    SLOW_BODY = "slow_body"
    SLOW_READER = "slow_reader"
    CROWDED = "crowded"
    NO_ROOM = "no_room"
