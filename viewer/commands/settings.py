"""`viewer settings`: what is in force."""

import click

from viewer.config import Settings, read


@click.command("settings")
def show_settings() -> None:
    """Print every setting in force; secrets stay hidden."""
    found = read()
    for name in Settings.model_fields:
        click.echo(f"{name}={getattr(found, name)}")
