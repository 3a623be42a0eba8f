"""The notebooks in `examples/`: in step, executable, and with outputs."""

import importlib.util
import os
import pathlib
import re

import keras
import pytest

import keras_mtl

jupytext = pytest.importorskip("jupytext", exc_type=ImportError)
nbformat = pytest.importorskip("nbformat", exc_type=ImportError)
pytest.importorskip("nbclient", exc_type=ImportError)

FOLDER = pathlib.Path(__file__).parents[2] / "examples"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
# What the cell tagged "parameters" is given in the tests.
BUDGETS = {
    "quick_start": {
        "tasks": ["mu", "zpve"],
        "molecules": 40,
        "epochs": 2,
        "seeds": [0],
    },
    "igb_v2": {
        "tasks": ["mu", "zpve"],
        "molecules": 40,
        "epochs": 8,
        "seeds": [0],
    },
    "task_selection": {
        "sizes": {"zpve": 40, "mu": 24},
        "steps": 150,
        "seeds": [0],
        "bandit_steps": 1000,
    },
    "gradient_conflict": {
        "tasks": ["mu", "zpve"],
        "molecules": 40,
        "epochs": 2,
        "methods": ["sum", "upgrad"],
        "points": 1,
    },
    "production": {
        "tasks": ["mu", "zpve"],
        "molecules": 200,
        "epochs": 4,
        "kill_in_epoch": 3,
    },
    "pinns": {
        "weightings": ["equal", "config"],
        "steps": 4,
        "seeds": {"poisson": [0], "heat": [0]},
    },
    "recommender_experts": {"impressions": 600, "epochs": 1, "seeds": [0]},
    "own_model_and_loop": {"houses": 128, "epochs": 2},
    "vae": {"epochs": 2},
    "distillation": {"weightings": ["nash_mtl"], "epochs": 2, "seeds": [0]},
}
# Which package has the data that a module reads.
DATA = {"datasets import qm9": "qm9pack", "sklearn": "sklearn"}
# A path of a machine: `/home/...`, `C:\...`, but not that of an address.
ABSOLUTE_PATH = re.compile(r"(?<![\w.:/~<-])(/[\w.-]+/|[A-Z]:\\)|~/")

each_notebook = pytest.mark.parametrize(
    "path", NOTEBOOKS, ids=[path.stem for path in NOTEBOOKS]
)


@pytest.fixture(scope="module")
def make_notebooks():
    path = FOLDER / "make_notebooks.py"
    spec = importlib.util.spec_from_file_location("make_notebooks", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def read(path):
    return nbformat.read(path, as_version=4)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def outputs(notebook):
    return [output for cell in code_cells(notebook) for output in cell.outputs]


def printed(notebook):
    """Returns all text in the outputs."""
    texts = [
        output.get("text") or output.get("data", {}).get("text/plain", "")
        for output in outputs(notebook)
    ]
    return "\n".join(texts)


def pictures(notebook):
    return [x for x in outputs(notebook) if "image/png" in x.get("data", {})]


def shrink(notebook, budget):
    """Overrides the values of the cell with the tag `parameters`."""
    (cell,) = (
        cell
        for cell in notebook.cells
        if "parameters" in cell.metadata.get("tags", [])
    )
    known = {}
    exec(cell.source, known)
    assert budget.keys() <= known.keys()
    lines = [f"{name} = {value!r}" for name, value in budget.items()]
    cell.source = "\n".join([cell.source, *lines])


@pytest.mark.any_backend
def test_every_script_has_a_notebook(make_notebooks):
    scripts = [path.stem for path in make_notebooks.scripts()]
    assert scripts
    assert scripts == [path.stem for path in NOTEBOOKS]


@pytest.mark.any_backend
@each_notebook
def test_in_step_with_the_script(path):
    script = jupytext.read(path.with_suffix(".py"))

    def cells(notebook):
        return [
            (cell.cell_type, cell.source, cell.metadata.get("tags"))
            for cell in notebook.cells
        ]

    assert cells(read(path)) == cells(script), "run `make notebooks`"


@pytest.mark.any_backend
@each_notebook
def test_says_how_to_install(path):
    introduction = read(path).cells[0].source
    assert re.search(r'`pip install -e "\.\[demo.*\]" jupyter`', introduction)


@pytest.mark.any_backend
@each_notebook
def test_committed_outputs(path):
    notebook = read(path)
    nbformat.validate(notebook)
    counts = [cell.execution_count for cell in code_cells(notebook)]
    assert counts == list(range(1, len(counts) + 1))
    assert printed(notebook)
    assert pictures(notebook)
    assert "error" not in [x.output_type for x in outputs(notebook)]
    assert "stderr" not in [x.get("name") for x in outputs(notebook)]
    assert "Warning" not in printed(notebook)
    assert not ABSOLUTE_PATH.search(printed(notebook))


@pytest.mark.slow
@each_notebook
def test_executes(path, make_notebooks, tmp_path):
    pytest.importorskip("ipykernel", exc_type=ImportError)
    pytest.importorskip("matplotlib", exc_type=ImportError)
    committed, notebook = read(path), read(path)
    # Found, not imported: it asks for packages that its data do not need.
    for module, package in DATA.items():
        needed = any(module in cell.source for cell in code_cells(notebook))
        if needed and importlib.util.find_spec(package) is None:
            pytest.skip(f"needs the data of the package {package}")
    shrink(notebook, BUDGETS[path.stem])
    folder = tmp_path / "examples"
    folder.mkdir()
    make_notebooks.execute(
        notebook,
        folder,
        timeout=1800,
        KERAS_BACKEND=keras.backend.backend(),
        # For the molecules that are kept once they are parsed.
        KERAS_HOME=os.fspath(tmp_path / "keras"),
    )
    assert len(pictures(notebook)) == len(pictures(committed))
    errors = [x for x in outputs(notebook) if x.get("name") == "stderr"]
    assert not errors, "".join(x["text"] for x in errors)


@pytest.mark.any_backend
def test_quick_start_shows_the_table_the_plots_and_all_names():
    notebook = read(FOLDER / "quick_start.ipynb")
    table = printed(notebook)
    names = keras_mtl.weightings.names()
    assert f"{len(names)} weightings" in table
    assert all(name in table for name in names)
    for text in ["equal", "igb_v1", "nash_mtl", "zpve_mae", "Δm (%)", "rank"]:
        assert text in table
    # Short steps on a busy machine: their times say nothing.
    assert not re.search("^time", table, re.MULTILINE)
    assert len(pictures(notebook)) == 5


@pytest.mark.any_backend
def test_production_shows_that_the_killed_training_ends_as_the_whole_one():
    text = printed(read(FOLDER / "production.ipynb"))
    differences = re.findall(r"^of the \w+ +(\S+)$", text, re.MULTILINE)
    assert len(differences) == 4
    assert all(float(value) <= 1e-6 for value in differences)
    assert "keras_mtl imported: False" in text


@pytest.mark.any_backend
def test_three_ways_of_training_agree():
    text = printed(read(FOLDER / "own_model_and_loop.ipynb"))
    differences = re.findall(r"parameters differ by (\S+) at most", text)
    assert len(differences) == 2
    assert all(float(value) <= 1e-5 for value in differences)


@pytest.mark.any_backend
@pytest.mark.parametrize(
    "text, found",
    [
        ("at /home/me/x.py:3: UserWarning", True),
        ("'/tmp/a/b'", True),
        (r"C:\Users\me", True),
        ("~/.keras/datasets", True),
        ("https://doi.org/10.1038/sdata", False),
        ("saved_models/quick_start, cal/(mol K)", False),
        ("weight/zpve, [1/6], ../saved_models", False),
    ],
)
def test_absolute_path(text, found):
    assert bool(ABSOLUTE_PATH.search(text)) == found
