"""Redis: publishing wake-ups to Celery and between processes."""
