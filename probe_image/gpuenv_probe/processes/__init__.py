"""The processes of the probe: a parent that survives everything, and workers that may crash."""
