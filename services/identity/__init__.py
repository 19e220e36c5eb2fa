"""Use cases of people, groups, keys and signing in."""
