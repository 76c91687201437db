"""What is known about drivers, toolkits, GPUs and PyTorch builds: tables with a source per row.

The YAML files beside this module are the tables; :func:`load` returns them typed. A newer set of tables can be given as a
directory: its files replace those of the same name.
"""

from gpuenv.knowledge.files import KnowledgeError
from gpuenv.knowledge.load import load
from gpuenv.knowledge.model import Knowledge

__all__ = ["Knowledge", "KnowledgeError", "load"]
