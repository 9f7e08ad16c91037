"""What a WSGI server loads."""

from viewer import create_app

app = create_app()
