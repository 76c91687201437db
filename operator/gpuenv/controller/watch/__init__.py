"""Kopf delivers watch events to the cache. No other package imports Kopf."""
