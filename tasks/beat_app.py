"""The application as beat needs it, `celery -A tasks.beat_app beat`: it sends tasks by their names, and without what these
import it takes 50 MiB less."""

from tasks.app import app

app.conf.imports = ()
