"""A folder of another host as a store for backups, over one ssh connection."""
