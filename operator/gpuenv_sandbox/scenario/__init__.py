"""Scenario files: which nodes a sandbox has, what the images contain, and what is broken."""
