"""The version of this release."""

# The only place that states it: the package's metadata, the CLI, OpenAPI and telemetry read it here.
VERSION = "0.1.0"
