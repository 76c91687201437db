"""Facts about the container, the driver, the GPUs and torch, read without judging them."""
