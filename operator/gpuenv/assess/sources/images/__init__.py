"""Facts about container images: from their names (``named``), and from their files and configuration (``contents``)."""

from typing import Final

VALUES: Final = {"pytorch": "PyTorch", "cuda": "CUDA", "cudnn": "cuDNN", "python": "Python"}
"""Maps the values that are looked for in an image to their names for people."""
