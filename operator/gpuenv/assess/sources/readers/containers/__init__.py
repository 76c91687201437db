"""Readers of what container runtimes, NVIDIA's container toolkit and the device plug-in say."""
