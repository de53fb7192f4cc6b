"""All figures, plots and tables of docs/performance.md anew: `.venv/bin/python -m tests.bench.all`, in about an hour.

Only on a machine that does nothing else do absolute figures mean much; ratios are of one run. With `--smoke` every
program runs, in two minutes, and nothing is kept.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from tests.bench import report
from tests.bench.terminal import notes

PROGRAMS = {
    "bench": "tests.bench",
    **{name: f"tests.bench.{name}" for name in ("clients", "scale", "workers", "memory", "workspaces")},
}


def main() -> None:
    """Run the programs one after the other, and write what they found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="small, to see that all of it runs")
    parser.add_argument("--only", choices=PROGRAMS, nargs="+", default=PROGRAMS, help="measure these, keep the others")
    options = parser.parse_args()
    for name in options.only:
        notes.print(f"tests.bench.all: {name}")
        command = [sys.executable, "-m", PROGRAMS[name], *(["--smoke"] if options.smoke else ["--json"])]
        done = subprocess.run(  # noqa: S603 - our own programs
            command, cwd=Path(__file__).parents[2], stdout=None if options.smoke else subprocess.PIPE, check=False
        )
        if done.returncode:
            sys.exit(f"{name} failed.")
        if not options.smoke:
            (report.FIGURES / f"{name}.json").write_bytes(done.stdout)
    if not options.smoke:
        report.write()


if __name__ == "__main__":
    main()
