"""API objects read into records, and records written as API objects."""
