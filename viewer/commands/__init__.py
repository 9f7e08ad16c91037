"""The command-line interface, `viewer`: the same functions as the web interface.

A command's module is imported when the command is asked for: `viewer up` keeps what it imports in
memory for good, and needs neither the demo's drawings nor the drill.
"""

import importlib

import click

from viewer.commands.context import one_line_errors
from viewer.config import restrict_new_files

# The module of each command, and the function's name there.
COMMANDS = {
    "up": "serve.up",
    "web": "serve.web",
    "work": "serve.work",
    "schedule": "serve.schedule",
    "catch-up": "upkeep.catch_up_now",
    "retry": "upkeep.retry",
    "reprocess": "upkeep.reprocess",
    "reindex": "upkeep.reindex",
    "purge": "upkeep.purge",
    "customer": "customers.customer",
    "verify": "verify.verify",
    "backup": "backup.backup",
    "restore": "restore.restore",
    "export": "export.export",
    "drill": "drill.drill",
    "storage": "storage.storage",
    "user": "users.users",
    "token": "users.tokens",
    "audit": "audit.audit_log",
    "db": "database.database",
    "settings": "settings.show_settings",
    "demo": "demo.demo",
}


class _Commands(click.Group):
    def list_commands(self, _context: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, _context: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        module, _, function = COMMANDS[name].partition(".")
        found: click.Command = getattr(
            importlib.import_module(f"viewer.commands.{module}"), function
        )
        return found


@click.group(cls=_Commands)
@click.version_option(package_name="conversation-viewer", message="%(version)s")
def viewer() -> None:
    """Archive and show the photos and voicemails of a business phone line."""


def main() -> None:
    """The console script."""
    restrict_new_files()
    with one_line_errors():
        viewer()
