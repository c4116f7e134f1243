"""Data root, and the code that fills it (prepare.py)."""
