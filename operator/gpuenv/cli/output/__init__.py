"""How answers are shown: the formats of ``explain`` and ``check``, and the tables and JSON of all commands."""
