"""Where backups go: a folder, a bucket or another host. `target.open_target` opens one."""
