"""Backup: a pool of immutable files, and snapshots of the database that name them, in a target.

`record.back_up` makes one; `target.open_target` and `snapshots` read them for repair and restore.
"""
