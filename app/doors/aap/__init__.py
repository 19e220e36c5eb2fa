"""The Agent Approval Protocol (AAP), version 1: approval requests of its adapters."""
