"""Finds the rules of errors.yaml that a text or a failure matches."""
