"""What a WSGI server loads."""

from viewer import config, create_app
from viewer.upkeep import readiness

config.restrict_new_files(config.read())
app = create_app()
readiness.check(app)
