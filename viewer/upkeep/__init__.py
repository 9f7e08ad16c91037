"""Maintenance: schema, store identity, health checks, database snapshots."""
