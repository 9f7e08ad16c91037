"""Fuzzing of what reads bytes and words from outside, by mutations of good inputs."""
