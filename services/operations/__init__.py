"""Use cases of operators: health, retention and statistics."""
