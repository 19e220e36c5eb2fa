"""The door for HumanLayer's SDKs."""
