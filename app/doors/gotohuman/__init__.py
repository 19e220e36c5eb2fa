"""gotoHuman: reviews whose result is sent to a webhook."""
