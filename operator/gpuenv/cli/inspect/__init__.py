"""Reads container images without running them: from registries, OCI layouts, archives and directories (``--inspect``).

Everything in an image counts as hostile. :mod:`gpuenv.cli.inspect.limits` has all limits, and whatever exceeds one of them
raises :class:`gpuenv.cli.inspect.limits.ImageError` with a message of one line.
"""
