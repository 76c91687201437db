"""Facts about container images: from their names (``named``), and from their files and configuration (``contents``)."""
