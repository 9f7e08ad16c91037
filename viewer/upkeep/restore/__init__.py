"""Restore: a whole viewer on an empty machine, or the files that a running one misses.

`run.restore` does the first, `missing.bring_back` the second; both read a backup's target only.
"""
