"""Runs of scripts, from the command line to the run record."""
