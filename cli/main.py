"""The command `sagahold`."""

import click

from cli.up import up


@click.group()
def main() -> None:
    """Hold an agent's risky action until a human has decided on it."""


main.add_command(up)
