"""HTTP for every route: authentication, bodies, problems, long polls, streams."""
