"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

from evoflash.api import families
from evoflash.errors import UsageError

Shape = Annotated[
    str | None,
    typer.Option(
        "--shape",
        help="A name from configs/shapes.yaml, or b=1,h=8,s=512,d=64[,kv=,t=,causal,window=,mask=…]; default: mission.",
        show_default=False,
    ),
]
Shapes = Annotated[
    list[str] | None,
    typer.Option(
        "--shape",
        help="Names from configs/shapes.yaml, or fields b=1,h=8,s=512,d=64[,kv=,t=,causal,window=,mask=…], by commas; "
        "repeatable; default: mission.",
        show_default=False,
    ),
]
Problem = Annotated[
    str | None,
    typer.Option(
        "--problem",
        metavar="FILE",
        help="In place of attention: a Python file with a PyTorch function and get_inputs(), a task of KernelBench, or "
        "the name of one that ships: rms_norm, cross_entropy, fused_linear. --shape then sets its sizes: rows=16.",
        show_default=False,
    ),
]
Dtype = Annotated[str | None, typer.Option("--dtype", help="fp16, bf16 or fp32; default: that of the shape, or fp16.")]
TargetName = Annotated[str | None, typer.Option("--target", help="auto, cuda or cpu.")]
Arch = Annotated[str | None, typer.Option("--arch", help="CUDA architecture, e.g. sm_90a; default: the device's.")]
Devices = Annotated[
    str | None,
    typer.Option(
        "--devices",
        metavar="all|N|0,1",
        help="The GPUs to search on: all that are alike and idle, how many of those, or their numbers with a comma, as "
        "in 0,1 or 1, for one; default: all.",
        show_default=False,
    ),
]
Scheduler = Annotated[
    str | None,
    typer.Option(
        "--scheduler",
        metavar="dask://HOST:PORT|slurm|local",
        help="Search on the devices of a cluster: those that have come to a scheduler of Dask's by `evoflash "
        "worker`, jobs of Slurm, or this machine's.",
        show_default=False,
    ),
]
TlsCaFile = Annotated[
    Path | None, typer.Option("--tls-ca-file", help="The cluster's certificate authority (PEM).", show_default=False)
]
TlsCert = Annotated[
    Path | None, typer.Option("--tls-cert", help="This host's certificate for the cluster (PEM).", show_default=False)
]
TlsKey = Annotated[Path | None, typer.Option("--tls-key", help="The key of --tls-cert (PEM).", show_default=False)]
Templates = Annotated[
    list[Path] | None,
    typer.Option(
        "--templates",
        parser=families.folder_of_templates,
        metavar="DIR",
        help="Folder with your own templates/ and search_spaces/; repeatable.",
    ),
]
Cache = Annotated[Path | None, typer.Option("--cache", help="Folder of the build cache; default: runs/builds.")]
Jobs = Annotated[int | None, typer.Option("--jobs", help="Parallel builds; default: the number of cores.")]
Sanitize = Annotated[
    bool,
    typer.Option(
        "--sanitize",
        help="Run correct kernels under compute-sanitizer, or AddressSanitizer and UBSan; an error disqualifies them.",
    ),
]
Baselines = Annotated[
    list[str] | None,
    typer.Option(
        "--baseline",
        metavar="NAME",
        help="Time this baseline, too: module:function with the signature of scaled_dot_product_attention, or with "
        "--problem of the file's function; or a rival of `evoflash doctor` that takes part only on request; none "
        "leaves out other packages than PyTorch, and torch.compile; repeatable.",
    ),
]
Debug = Annotated[bool | None, typer.Option("--debug", help="Build with debug information.")]
Calls = Annotated[
    bool | None,
    typer.Option("--calls/--no-calls", help="Time calls of the export from Python, too.", show_default=False),
]
Report = Annotated[
    bool | None,
    typer.Option("--report/--no-report", help="Write an HTML report at the end.", show_default=False),
]
Verbose = Annotated[bool | None, typer.Option("--verbose", help="Show compiler commands and output.")]


def refuse(context: typer.Context, names: tuple[str, ...], where: str) -> None:
    """Refuses options that mean nothing where they were given.

    A setting from the environment or evoflash.yaml is for every command, so it is no mistake where it has no use.

    Args:
        names: of the command's parameters.
        where: completes "--arch means nothing …".

    Raises:
        UsageError: for the first of them that stands on the command line.
    """
    for parameter in context.command.params:
        source = context.get_parameter_source(str(parameter.name))
        if parameter.name in names and source is not None and source.name == "COMMANDLINE":
            option = "/".join((*parameter.opts, *parameter.secondary_opts))
            raise UsageError(f"{option} means nothing {where}; leave it out")
