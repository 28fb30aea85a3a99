"""Run the command line with `python -m allocator`."""

from allocator.cli import main

main()
