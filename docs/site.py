"""Hooks of the documentation site: pages that are made from the code when the site is built."""

import subprocess
import sys

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

TYPER = [
    sys.executable,
    "-m",
    "typer",
    "evoflash.cli.main",
    "utils",
    "docs",
    "--name",
    "evoflash",
    "--title",
    "Commands",
]


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the reference of the commands, which is their `--help`."""
    made = subprocess.run(TYPER, check=True, capture_output=True, text=True)
    files.append(File.generated(config, "commands.md", content=made.stdout))
    return files
