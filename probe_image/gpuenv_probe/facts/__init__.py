"""Collects facts about the container, the driver, the GPUs and torch."""
