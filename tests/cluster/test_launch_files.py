"""The launch files of docs/clusters.md: Slurm's job is built by dask-jobqueue, and every command is one that exists."""

import re
import shlex
from pathlib import Path

import pytest
import typer
import yaml

from evoflash.cli.main import app
from evoflash.cluster.connection import slurm_cluster
from evoflash.errors import UsageError

PAGE = (Path(__file__).parents[2] / "docs" / "clusters.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def parsed(words: list[str]) -> dict:
    """The options of an evoflash command, as it understands them."""
    command = typer.main.get_command(app).commands[words[1]]
    return command.make_context(words[1], words[2:]).params


@pytest.fixture
def settings():
    [found] = [block for block in blocks("yaml") if block.startswith("jobqueue:")]
    return {name.replace("-", "_"): value for name, value in yaml.safe_load(found)["jobqueue"]["slurm"].items()}


def test_slurms_job_is_a_worker_with_a_gpu(settings):
    cluster = slurm_cluster(None, ["--target", "cuda"], **{**settings, "interface": "lo"})
    try:
        script = cluster.job_script()
        assert cluster.scheduler_address.startswith("tcp://127.0.0.1:")
    finally:
        cluster.close()
    lines = script.splitlines()
    for line in ("#SBATCH -p gpu", "#SBATCH --cpus-per-task=16", "#SBATCH -t 02:00:00", "#SBATCH --gres=gpu:1"):
        assert line in lines
    assert lines.index("module load cuda") < len(lines) - 1
    [command] = [shlex.split(line) for line in lines if "evoflash worker" in line]
    assert command[1:4] == ["-m", "evoflash", "worker"]
    options = parsed(command[2:])
    assert options["scheduler"] == cluster.scheduler_address
    assert (options["jobs"], options["interface"], options["target"]) == (16, "lo", "cuda")
    assert options["cache"] == Path("/scratch/builds")


@pytest.mark.parametrize(("missing", "words"), [("cores", "need cores"), ("interface", "must reach this machine")])
def test_what_slurms_jobs_need_is_said(settings, missing, words):
    with pytest.raises(UsageError, match=words):
        slurm_cluster(None, **{**settings, missing: None})


def test_slurms_script_starts_workers():
    [script] = [block for block in blocks("bash") if "SBATCH" in block]
    [line] = [line for line in script.splitlines() if line.startswith("srun")]
    options = parsed(shlex.split(line)[1:])
    assert (options["interface"], options["jobs"]) == ("ib0", 7)


def test_kubernetes_files_hang_together():
    [text] = [block for block in blocks("yaml") if block.startswith("apiVersion")]
    found = {(each["kind"], each["metadata"]["name"]): each["spec"] for each in yaml.safe_load_all(text)}
    containers = {
        name: spec["template"]["spec"]["containers"][0] for (_, name), spec in found.items() if "template" in spec
    }
    labels = {spec["template"]["metadata"]["labels"]["app"] for spec in found.values() if "template" in spec}
    for (kind, _), spec in found.items():
        if kind == "Deployment":
            assert spec["selector"]["matchLabels"] == spec["template"]["metadata"]["labels"]
    service = found["Service", "evoflash-scheduler"]
    assert service["selector"]["app"] in labels
    policy = found["NetworkPolicy", "evoflash-scheduler"]
    assert policy["podSelector"]["matchLabels"] == service["selector"]
    allowed = {each["podSelector"]["matchLabels"]["app"] for each in policy["ingress"][0]["from"]}
    assert allowed == {"evoflash-worker", "evoflash-driver"} <= labels
    address = f"dask://evoflash-scheduler:{service['ports'][0]['port']}"
    scheduler = containers["evoflash-scheduler"]["command"]
    assert scheduler[scheduler.index("--port") + 1] == str(service["ports"][0]["port"])
    assert scheduler[scheduler.index("--dashboard-address") + 1].startswith("127.0.0.1:")
    worker = parsed(containers["evoflash-worker"]["command"])
    assert (worker["scheduler"], worker["cache"]) == (address, Path("/cache/builds"))
    assert containers["evoflash-worker"]["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert parsed(containers["evoflash-search"]["command"])["scheduler"] == address
