"""`python -m muster` and `.venv/bin/muster` are the same."""

from muster.cli import main

main()
