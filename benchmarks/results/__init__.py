"""Tables and figures of docs/results.md: `make results`, or `python -m benchmarks.results`."""
