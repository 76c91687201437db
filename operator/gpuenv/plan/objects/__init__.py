"""Conversions: API objects into records, and report records into the status of GPUNodeReport objects."""
