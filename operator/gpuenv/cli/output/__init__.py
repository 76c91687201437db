"""The output of commands: formats of ``explain`` and ``check``, and aligned columns and JSON for all commands."""
