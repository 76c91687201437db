"""One probe pod: its manifest, its clocks, and how it started, waited or ended."""
