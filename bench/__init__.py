"""How fast, how big: the figures of docs/benchmarks.md, measured on the embedded stack. `python -m bench`."""
