"""Peers of the webhook: what nobody can do without, and the plain design.

    python benchmarks/bare_door.py FOLDER PORT bare|plain
"""
