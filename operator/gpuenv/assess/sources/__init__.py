"""Readers of facts: one for each source, such as probe reports, pasted text, error messages and node labels."""
