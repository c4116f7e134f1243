"""The code that the scripts share. docs/code.md lists its packages, and which may import from which."""

import sys

if sys.version_info < (3, 11, 4):
    sys.exit(f"Python 3.11.4 or newer is required, but this is {sys.version.split()[0]}. Use another environment.")
