"""`python -m devstack`: what `herald dev` runs."""

import argparse
import sys
from pathlib import Path

from devstack.dev import run


def main() -> int:
    """Run the stack with the options of `herald dev`; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m devstack", description="Run the whole stack.")
    parser.add_argument("--data-dir", type=Path, default=Path(".herald"))
    parser.add_argument("--port-offset", type=int, default=0)
    parser.add_argument("--fresh", action="store_true", help="delete the stack's data before starting")
    parser.add_argument("--no-simulators", action="store_true", help="use the configured providers")
    options = parser.parse_args()
    return run(options.data_dir, options.port_offset, options.fresh, not options.no_simulators)


if __name__ == "__main__":
    sys.exit(main())
