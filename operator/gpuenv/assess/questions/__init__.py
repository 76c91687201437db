"""Open questions: what follows from the tables if PyTorch, the driver or the GPU is not known.

Nothing here has rules of its own. The engine assesses the facts with every driver, build or GPU generation of the tables
in the place of the missing one, and the answer is what it finds.
"""
