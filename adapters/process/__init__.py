"""This process and its machine: logs, threads, sockets, environment."""
