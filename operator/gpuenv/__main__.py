"""``python -m gpuenv``."""

from gpuenv.cli import main

if __name__ == "__main__":
    main(prog_name="gpuenv")
