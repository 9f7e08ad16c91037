"""The command-line interface, `viewer`: the same functions as the web interface."""

import sys

import click

from viewer.commands import (
    backup,
    database,
    demo,
    drill,
    restore,
    serve,
    settings,
    storage,
    upkeep,
    users,
    verify,
)
from viewer.commands.context import PROBLEMS


@click.group()
@click.version_option(package_name="conversation-viewer", message="%(version)s")
def viewer() -> None:
    """Archive and show the photos and voicemails of a business phone line."""


for command in (
    serve.up, serve.web, serve.work, serve.schedule,
    upkeep.catch_up_now, upkeep.retry, upkeep.reprocess, upkeep.reindex, upkeep.purge,
    verify.verify, backup.backup, restore.restore, drill.drill,
    storage.storage, users.users, database.database, settings.show_settings, demo.demo,
):  # fmt: skip
    viewer.add_command(command)


def main() -> None:
    """The console script. Reports an invalid setting in one line, without a traceback."""
    try:
        viewer()
    except PROBLEMS as problem:
        sys.exit(f"viewer: {problem}")
