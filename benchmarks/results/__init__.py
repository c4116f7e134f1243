"""Tables and figures of docs/results.md: `make results`, or `python -m benchmarks.results`.

__main__      the command
runs          networks and explanations, made by the repository's scripts
courses       which course teaches a machine student best?
explanations  where do explanations fall, and what does the margin lose when they are blurred?
labels        what are people's labels worth?
tables        CSV, figure and Markdown of a table
"""
