"""What every use case builds on: units of work, leases, group commit, pages."""
