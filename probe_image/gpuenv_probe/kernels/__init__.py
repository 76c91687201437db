"""Kernels that every training or inference job needs, each with its results checked."""
