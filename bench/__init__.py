"""The benchmark `python -m bench`: the figures of docs/benchmarks.md, measured on the embedded stack."""
