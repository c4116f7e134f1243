"""A script's run: from the command line to its record.

settings   what may be set, and what is refused?
launch     how does every script start and end?
resuming   how does a run that was stopped go on as if it never had been?
checks  which results are worth nothing, and how is that said?
records    what is left that says how a run was made?
"""
