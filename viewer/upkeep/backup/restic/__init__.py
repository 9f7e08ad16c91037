"""Backups into a repository of restic, which is no store: by restic's own means."""
