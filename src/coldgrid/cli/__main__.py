"""`python -m coldgrid.cli` is `coldgrid`."""

from coldgrid.cli.app import main

main()
