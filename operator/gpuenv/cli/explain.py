"""``gpuenv explain``: assesses versions, a pasted environment, an error text or a saved probe report."""

from typing import Any

import click

from gpuenv.cli.assessing import answers
from gpuenv.cli.inputs.given import Given
from gpuenv.cli.inputs.platforms import complete
from gpuenv.cli.inputs.tables import read_tables
from gpuenv.cli.output import formats
from gpuenv.cli.output.by import By
from gpuenv.cli.shared import exit_codes, options
from gpuenv.cli.shared.forms import Form


@click.command(epilog=f"{exit_codes.HELP}; the worst of several.")
@click.option(
    "--torch",
    "torches",
    multiple=True,
    metavar="VERSION",
    help="PyTorch version, such as 2.9.1+cu128; several: compare.",
)
@click.option(
    "--image",
    "images",
    multiple=True,
    metavar="REF",
    help="Container image, judged by its name and tag; several: compare.",
)
@click.option(
    "--inspect",
    is_flag=True,
    help="Read the images: from a registry, an OCI layout (oci:DIR), an archive (docker-archive:FILE) or files (dir:PATH).",
)
@click.option("--cuda", metavar="VERSION", help="CUDA version of the PyTorch build (torch.version.cuda).")
@click.option("--cudnn", metavar="VERSION", help="cuDNN version of the image.")
@click.option("--python", metavar="VERSION", help="Python version of the image.")
@click.option(
    "--arch-list",
    metavar="FLAGS",
    help="What torch.cuda.get_arch_list() prints, when it is no released build.",
)
@click.option(
    "--driver",
    "drivers",
    multiple=True,
    metavar="VERSION",
    help="NVIDIA driver version; several go with several --gpu. With --nodes, in the place of each node's own.",
)
@click.option(
    "--gpu", "gpus", multiple=True, metavar="NAME", help="GPU product name as nvidia-smi -L prints it."
)
@click.option(
    "--compute-capability",
    metavar="X.Y",
    help="Compute capability of the GPU, when its name is not in the tables.",
)
@click.option(
    "--platform",
    metavar="NAME",
    shell_complete=complete,
    help="Where it runs, for a fitting cure, such as gke, wsl, docker or windows (gpuenv knowledge platforms).",
)
@click.option(
    "--collect-env",
    metavar="FILE",
    help="Output of python -m torch.utils.collect_env, or vLLM's; - is standard input.",
)
@click.option(
    "--error", metavar="FILE|TEXT", help="A traceback, log or warning, as file or text; - is standard input."
)
@click.option("--report", metavar="FILE", help="A report saved by gpuenv check.")
@click.option(
    "--nodes",
    metavar="FILE",
    help="Nodes as CSV or YAML (name, gpu, driver), kubectl get nodes -o yaml, or the CSV of nvidia-smi --query-gpu.",
)
@click.option(
    "-f", "--file", "environment", metavar="FILE", help="A GPUEnvironment, for its image and expectations."
)
@click.option(
    "--what-if",
    metavar="driver=VERSION|torch=VERSION",
    help="What would become of it; shows the differences.",
)
@click.option(
    "--by",
    type=click.Choice([by.value for by in By]),
    default=By.KIND.value,
    show_default=True,
    help="A row for all nodes of one kind (GPU and driver), or for each node.",
)
@options.tables_directory
@formats.option
@options.verbose
def command(*, directory: str | None, form: str, verbose: bool, by: str, **given: Any) -> int:
    """Say whether a PyTorch image runs on a node, and if not, why and what helps.

    Give what you have; what is missing is named. Nothing here needs a GPU or a cluster.

    \b
      gpuenv explain --torch 2.9.1+cu128 --driver 535.104.05 --gpu "Tesla V100-SXM2-16GB"
      gpuenv explain --image vllm/vllm-openai:v0.11.1 --nodes fleet.csv
      python -m torch.utils.collect_env | gpuenv explain --collect-env -
      gpuenv explain --error traceback.txt
      gpuenv explain --nodes fleet.csv --torch 2.9.1+cu128 --torch 2.11.0+cu130
      gpuenv explain --nodes fleet.csv --torch 2.9.1+cu128 --what-if driver=590.48.01
      gpuenv explain --gpu "GTX 1080 Ti"
    """
    found = list(answers(Given(**given), read_tables(directory)))
    click.echo(formats.FORMATS[Form(form)](found, verbose, By(by)), nl=False)
    return exit_codes.of_worst(answer.assessment.verdict for answer in found)
