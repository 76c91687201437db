"""Run by an interpreter that has a real torch: what the probe makes of each driver error. Prints one JSON object.

``python driver_errors.py ARCHIVE SETTINGS-FILE NUMBER ...`` with the fake libraries on ``LD_LIBRARY_PATH``. torch is
imported once; every number gets a process of its own by fork, before CUDA is touched.
"""

import json
import os
import sys


def attempt(settings, number):
    """The piece of a report that ``torch.cuda.init()`` ends in when the driver's cuInit returns ``number``."""
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
    # Only now: asking the runtime for a text starts it, and a forked child would inherit that.
    runtime = torch._C._cudart
    for number, piece in found.items():
        piece["words"] = runtime.cudaGetErrorString(runtime.cudaError(number))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
