"""Speed and memory (`bench`, with the released procedure in `baseline`); tables of docs/results.md (`results`)."""
