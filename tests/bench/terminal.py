"""Where benchmarks speak: results on standard output, progress on standard error."""

import sys

from rich.console import Console

# Wide enough for the tables where nobody's terminal says how wide it is.
_WIDTH = None if sys.stdout.isatty() else 120

notes = Console(stderr=True)
results = Console(highlight=False, width=_WIDTH)
