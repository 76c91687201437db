"""Functions that read facts, in one module for each source: probe documents, pasted text, node labels."""
