"""Reads the reports of the probe."""
