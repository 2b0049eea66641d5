"""How Midwatch starts a child process of its own: one way, which the user's folder cannot change.

`python -m` puts the working folder first on the module path, so a file `chaos.py` there would run in place of our
package. `-P` leaves the folder out (Python 3.11, "What's New"); the packages that are installed stay.
"""

from __future__ import annotations

import sys


def command(module: str, *arguments: str) -> list[str]:
    """Words that start a module of ours with this Python."""
    return [sys.executable, "-P", "-m", module, *arguments]
