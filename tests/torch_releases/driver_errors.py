"""Print as JSON how the probe reports each error number of the driver under a real torch.

Run it with ``python driver_errors.py ARCHIVE SETTINGS-FILE NUMBER ...`` and the fake libraries on ``LD_LIBRARY_PATH``.
ARCHIVE is the probe's zip application. torch is imported once, and each number is tried in a fork of this process,
because CUDA can be initialised only once per process.
"""

import json
import os
import sys


def attempt(settings, number):
    """Return the partial report of ``torch.cuda.init()`` in a new process in which cuInit returns ``number``."""
    with open(settings, "w", encoding="utf-8") as file:
        file.write(f"cuInit={number}\n")
    reader, writer = os.pipe()
    if os.fork() == 0:
        import torch

        from gpuenv_probe.facts import torch_facts
        from gpuenv_probe.step import Context

        context = Context({})
        context.found["torch"] = torch
        os.write(writer, json.dumps(torch_facts.start_cuda(context)).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as answer:
        return json.loads(answer.read())


def main():
    archive, settings, *numbers = sys.argv[1:]
    sys.path.insert(0, archive)
    os.environ["FAKE_GPU"] = settings
    import torch

    found = {number: attempt(settings, number) for number in map(int, numbers)}
    # This comes last, because asking for a text initialises the runtime, which a forked child would inherit.
    runtime = torch._C._cudart
    for number, piece in found.items():
        piece["words"] = runtime.cudaGetErrorString(runtime.cudaError(number))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
