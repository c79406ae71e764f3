"""docs/tour.ipynb: it is well-formed, small, tells nothing of the machine, and runs from its first cell to its last."""

import ast
import json
import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

PATH = Path(__file__).parents[1] / "docs" / "tour.ipynb"
MOST_BYTES = 200_000
OF_A_MACHINE = re.compile(r"/(tmp|home|root|work|Users|var|opt|usr)/|[A-Za-z]:\\\\|[\w.-]+@[\w-]+\.\w")


@pytest.fixture
def notebook():
    return nbformat.read(PATH, as_version=4)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_its_cells_are_well_formed_and_have_run_in_order(notebook):
    nbformat.validate(notebook)
    cells = code_cells(notebook)
    for cell in cells:
        ast.parse(cell.source)
        assert not [each for each in cell.outputs if each.output_type == "error"]
        assert not [each for each in cell.outputs if each.get("name") == "stderr"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))


def test_it_is_small_and_tells_nothing_of_the_machine(notebook):
    assert PATH.stat().st_size < MOST_BYTES
    for cell in code_cells(notebook):
        assert OF_A_MACHINE.search(json.dumps(cell.outputs)) is None, cell.source


def test_it_shows_frames_figures_and_a_kernel_that_was_called(notebook):
    outputs = [output for cell in code_cells(notebook) for output in cell.outputs]
    kinds = [kind for output in outputs for kind in output.get("data", {})]
    assert kinds.count("text/html") >= 6
    assert "application/vnd.plotly.v1+json" in kinds
    (error,) = [
        output.data["text/plain"]
        for cell in code_cells(notebook)
        if "scaled_dot_product_attention" in cell.source
        for output in cell.outputs
    ]
    assert 0 <= float(error) < 1e-4


@pytest.mark.long  # a search, and the build of an export: one to four minutes
@pytest.mark.timeout(1200)
def test_it_runs(notebook, tmp_path):
    client = NotebookClient(notebook, timeout=1000, resources={"metadata": {"path": str(tmp_path)}})
    client.execute()
    (last,) = [cell.outputs[-1] for cell in code_cells(notebook) if "scaled_dot_product_attention" in cell.source]
    assert float(last.data["text/plain"]) < 1e-4
