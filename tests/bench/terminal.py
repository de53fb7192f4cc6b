"""Where benchmarks speak: results on standard output, progress on standard error."""

from rich.console import Console

notes = Console(stderr=True)
results = Console(highlight=False)
