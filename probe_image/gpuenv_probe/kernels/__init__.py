"""Kernels: small GPU computations that every training or inference job needs, each with its result checked."""
