"""The probe: runs inside a stranger's PyTorch image and tells what it found there; it never judges.

Python >= 3.8 and the standard library only; NVIDIA's own ``pynvml`` travels beside it in the zip application.
It imports nothing of the operator: the versioned report schema (``report.schema.json``) is all they share.
"""

__version__ = "0.1.0"
