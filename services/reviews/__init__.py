"""Use cases of reviewers: queues, claims and decisions."""
