"""The base of every use case: units of work, leases, group commit, pagination."""
