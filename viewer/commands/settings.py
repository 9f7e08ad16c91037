"""`viewer settings`: print the settings in force."""

import click

from viewer.config import HOME, Settings, env_file, home, read


@click.command("settings")
def show_settings() -> None:
    """Print every setting in force; secrets stay hidden."""
    found, file = read(), env_file()
    click.echo(f"# {HOME}={home()}")
    click.echo(f"# {file} {'was read' if file.is_file() else 'is not there'}")
    in_full = {
        "MEDIA_ROOT": found.media_root,
        # The defaults hold no password.
        "DATABASE_URL": found.DATABASE_URL if found.DATABASE_URL else found.database_url,
        "REDIS_URL": found.REDIS_URL if found.REDIS_URL else found.redis_url,
    }
    for name in Settings.model_fields:
        click.echo(f"{name}={_in_words(in_full.get(name, getattr(found, name)))}")


def _in_words(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
