"""What a WSGI server loads."""

from viewer import create_app
from viewer.upkeep import readiness

app = create_app()
readiness.check(app)
