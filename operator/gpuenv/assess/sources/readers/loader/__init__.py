"""Readers of what the dynamic loaders of Linux and Windows say, and of who asked them."""
