"""Functions that read facts, one module for each source: probe reports, pasted text, error messages, node labels."""
