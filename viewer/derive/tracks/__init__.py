"""Sounds and films: decode, measure, transcode, clean. Runs in the sandboxed child."""
