"""Tests: each package has a folder here. Tests of the scripts and of the whole repository are files here."""
