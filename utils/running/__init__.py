"""A script's run, from the command line to its record.

settings   parsing and checking settings, --help
launch     start and end of every script
resuming   unfinished runs
checks     sanity checks on results
records    how a run was made
"""
