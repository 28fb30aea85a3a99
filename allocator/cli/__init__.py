"""The command line: parse, call, print."""

from allocator.cli.app import main

__all__ = ["main"]
