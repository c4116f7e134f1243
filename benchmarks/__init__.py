"""Speed and memory of the pipeline, and the results of docs/results.md.

bench     speed and memory against the released procedure and against limits (a command)
baseline  the released procedure
results   tables and figures of docs/results.md (a command)
"""
