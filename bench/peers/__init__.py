"""Our product and its peers on the same approval cycle: `make bench-peers`."""
