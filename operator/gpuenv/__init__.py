"""gpuenv: can this GPU node run this PyTorch-CUDA image, and if not, why and what fixes it?"""

__version__ = "0.3.0"
