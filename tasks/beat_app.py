"""The Celery application of beat: `celery -A tasks.beat_app beat`. Beat sends tasks by name, so it imports none of them
and takes 50 MiB less."""

from tasks.app import app

app.conf.imports = ()
