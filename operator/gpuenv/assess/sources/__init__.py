"""Where facts are read from: probe reports, pasted text, error messages, node labels."""
