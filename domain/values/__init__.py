"""Values and formats that know nothing of pauses or sagas."""
