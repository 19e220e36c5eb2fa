"""The HTTP parts that all routes share: authentication, bodies, problems, long polls and streams."""
