"""Cures: which other PyTorch build, driver or library solves the problem that a check found.

Each candidate is applied to the facts and assessed, so that nobody is told to make a change that does not help.
:mod:`gpuenv.assess.cures.search` is the place to start.
"""
