"""Keeping watch over what we have."""
