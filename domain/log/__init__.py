"""The audit log: its entries and their chain."""
