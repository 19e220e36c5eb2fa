"""The command `sagahold`, which belongs to the server."""

import sys
from importlib import import_module
from importlib.util import find_spec


def main() -> None:
    """Run the server's command line, or tell how to install it."""
    if find_spec("sagahold_server") is None:
        sys.exit('sagahold: the server is not installed, run `pip install "sagahold[server]"`')
    import_module("sagahold_server").main()
