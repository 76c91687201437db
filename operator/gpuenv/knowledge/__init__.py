"""The tables of drivers, CUDA toolkits, GPUs, PyTorch builds and known errors, with a source for each row.

Each table is a YAML file in this package; :func:`load` returns all of them as typed values. A user can pass a directory
with other tables, whose files replace the package's files of the same name.
"""

from gpuenv.knowledge.files import KnowledgeError
from gpuenv.knowledge.load import load
from gpuenv.knowledge.model import Knowledge

__all__ = ["Knowledge", "KnowledgeError", "load"]
