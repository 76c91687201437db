"""One probe pod: its manifest, its time limits, and whether it waits, runs, is stuck or has ended."""
