"""QM9: eleven properties of small organic molecules, from their geometry.

The units are those in which the multi-task papers report the mean absolute
error: dipole moment `mu` in debye, polarizability `alpha` in bohr^3, `homo`,
`lumo`, `zpve` and the four energies in meV, spatial extent `r2` in bohr^2 and
heat capacity `cv` in cal/(mol K).

`u0`, `u`, `h` and `g` are atomization energies: the energy of the molecule
less that of its free atoms. The total energies span 18,000 eV, nearly all of
it a sum over the elements; the papers predict the rest.

References:

- [Ramakrishnan et al., 2014](https://doi.org/10.1038/sdata.2014.22), the data,
  and its file `atomref.txt`, the energies of the free atoms.
- [Navon et al., 2022](https://arxiv.org/abs/2202.01017), the eleven tasks and
  their standardization. Their code takes mean and standard deviation of all
  molecules; here they are those of the training split.
"""

import csv
import hashlib
import importlib.util
import os
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from keras_mtl.backend.files import read_text
from keras_mtl.backend.files import write_bytes
from keras_mtl.datasets.task_data import TaskData

HARTREE_IN_MEV = 27211.386245988  # CODATA 2018
MAX_ATOMS = 29

_ATOMIC_NUMBERS = {"H": 1, "C": 6, "N": 7, "O": 8, "F": 9}
_CACHE_FORMAT = 1


class _Property(NamedTuple):
    column: str
    unit: str
    factor: float = 1.0
    free_atoms: dict | None = None  # the energy of each, in hartree


def _energy(column, **free_atoms):
    return _Property(column, "meV", HARTREE_IN_MEV, free_atoms)


_PROPERTIES = {
    "mu": _Property("Dipole_debye", "D"),
    "alpha": _Property("Polarizability_bohr3", "bohr^3"),
    "homo": _energy("HOMO_au"),
    "lumo": _energy("LUMO_au"),
    "r2": _Property("R2_bohr2", "bohr^2"),
    "zpve": _energy("ZPVE_au"),
    "u0": _energy(
        "InternalEnergy_0K_au",
        H=-0.500273,
        C=-37.846772,
        N=-54.583861,
        O=-75.064579,
        F=-99.718730,
    ),
    "u": _energy(
        "InternalEnergy_298K_au",
        H=-0.498857,
        C=-37.845355,
        N=-54.582445,
        O=-75.063163,
        F=-99.717314,
    ),
    "h": _energy(
        "Enthalphy_298K_au",
        H=-0.497912,
        C=-37.844411,
        N=-54.581501,
        O=-75.062219,
        F=-99.716370,
    ),
    "g": _energy(
        "GibbsFreeEnergy_298K_au",
        H=-0.510927,
        C=-37.861317,
        N=-54.598897,
        O=-75.079532,
        F=-99.733544,
    ),
    "cv": _Property("Heatcapacity_Cv_cal_mol_K", "cal/(mol K)"),
}

TASKS = tuple(_PROPERTIES)
# Numbers of molecules for training, validation and test in the papers.
PAPER_SPLITS = (110_000, 10_000, 10_000)


class Statistics(NamedTuple):
    """Mean and standard deviation of a task's training targets.

    `target * std + mean` is the property in `unit`, and a mean absolute error
    of standardized targets times `std` is the error in `unit`.
    """

    mean: float
    std: float
    unit: str


def load_data(
    molecules: int | None = 5000,
    seed: int = 0,
    splits: Sequence[float] | str = (0.8, 0.1, 0.1),
    cache_dir: str | os.PathLike | None = None,
    data_dir: str | os.PathLike | None = None,
) -> TaskData:
    """Loads a random subset of QM9 as eleven standardized regression tasks.

    The molecules come from the optional package `qm9pack`, which carries the
    130,831 of QM9 that passed its consistency check. They are parsed once and
    kept as a small `.npz` file.

    The tasks share their inputs. Each split is a pair `(x, y)`:

    - `x`: `"atoms"`, the atomic numbers, int32 of shape `(n, 29)`, zero
      where a molecule has fewer atoms; `"positions"`, in angstrom, float32 of
      shape `(n, 29, 3)`.
    - `y`: for each of the eleven `TASKS` float32 of shape `(n, 1)`, with
      zero mean and unit standard deviation over the training split.

    Example:

    ```python
    train, validation, test, statistics = qm9.load_data(molecules=5000)
    model.fit(*train, validation_data=validation)
    statistics["homo"].std, statistics["homo"].unit  # (611.6, "meV")
    data = qm9.load_data(None, splits="papers")
    ```

    Args:
        molecules: Number of molecules in the three splits together, or `None`
            for all; with `splits="papers"`, for 130,000.
        seed: Integer, draws the molecules and their order. With the same seed
            fewer molecules are a subset of more.
        splits: Relative sizes of training, validation and test split; or
            `"papers"`, for those of the papers, 110,000, 10,000 and 10,000.
        cache_dir: Folder of the parsed subset. Defaults to `datasets` in
            `$KERAS_HOME`, or in `~/.keras`.
        data_dir: Folder with the CSV files `qm9_part*.csv` in the layout of
            `qm9pack`. Defaults to that package's own.

    Returns:
        A `TaskData`, which unpacks to `(train, validation, test, statistics)`.
        The statistics, also `info["statistics"]`, are a dict of task to
        `Statistics(mean, std, unit)` of the training split, in the papers'
        units.

    Raises:
        ImportError: `qm9pack` is not installed and no `data_dir` is given.
        FileNotFoundError: `data_dir` holds no such CSV file.
        ValueError: There are fewer molecules than asked for, a split would be
            empty, or a file has another layout, or a row of which a number is
            NaN, infinite or none.
    """
    if isinstance(splits, str):
        molecules, splits = _named_splits(molecules, splits)
    paths = _csv_files(data_dir)
    atoms, positions, properties = _load_arrays(
        paths, molecules, seed, cache_dir
    )
    bounds = _split_bounds(len(atoms), splits)
    statistics = _statistics(properties[: bounds[1]])
    mean, std, _ = zip(*statistics.values())
    targets = ((properties - mean) / std).astype("float32")
    train, validation, test = [
        (
            {"atoms": atoms[start:end], "positions": positions[start:end]},
            {task: targets[start:end, [i]] for i, task in enumerate(TASKS)},
        )
        for start, end in zip(bounds, bounds[1:])
    ]
    return TaskData(train, validation, test, {"statistics": statistics})


def _csv_files(data_dir):
    if data_dir is None:
        # The package is found but not imported: it needs pandas and
        # pkg_resources, which its data files do not.
        package = importlib.util.find_spec("qm9pack")
        if package is None:
            raise ImportError(
                "QM9 is read from the package `qm9pack`, which is not "
                "installed. Type `pip install qm9pack==1.0.3`, or pass "
                "`data_dir=`, a folder with its CSV files."
            )
        data_dir = Path(package.origin).parent / "data"
    paths = sorted(Path(data_dir).expanduser().glob("qm9_part*.csv"))
    if not paths:
        raise FileNotFoundError(
            "Expected `data_dir` to be a folder with the files "
            f"`qm9_part*.csv`. Received: data_dir={str(data_dir)!r}"
        )
    return paths


def _named_splits(molecules, name):
    if name != "papers":
        raise ValueError(
            'Expected `splits` to be "papers" or three positive sizes. '
            f"Received: splits={name!r}"
        )
    count = sum(PAPER_SPLITS) if molecules is None else molecules
    return count, PAPER_SPLITS


def _split_bounds(count, splits):
    if len(splits) != 3 or not all(size > 0 for size in splits):
        raise ValueError(
            "Expected `splits` to be three positive sizes, of training, "
            f"validation and test split. Received: splits={splits}"
        )
    shares = np.cumsum(splits) / np.sum(splits)
    bounds = [0, *np.rint(shares * count).astype(int).tolist()]
    if not all(np.diff(bounds)):
        raise ValueError(
            "Expected enough molecules for each split to have one. "
            f"Received: {count} molecules, splits={splits}"
        )
    return bounds


def _statistics(properties):
    mean, std = properties.mean(axis=0), properties.std(axis=0)
    # A property that never varies has nothing to learn: its target is zero.
    std[std == 0] = 1.0
    return {
        task: Statistics(float(mean[i]), float(std[i]), item.unit)
        for i, (task, item) in enumerate(_PROPERTIES.items())
    }


def _load_arrays(paths, molecules, seed, cache_dir):
    if cache_dir is None:
        home = os.environ.get("KERAS_HOME", "~/.keras")
        cache_dir = Path(home) / "datasets"
    count = "all" if molecules is None else molecules
    name = f"qm9_{count}_seed{seed}_v{_CACHE_FORMAT}.npz"
    cache = Path(cache_dir).expanduser() / name
    source = repr([(path.name, _fingerprint(path)) for path in paths])
    arrays = _read_cache(cache, source)
    if arrays is None:
        arrays = _parse(*_read_rows(paths, molecules, seed))
        _write_cache(cache, source, arrays)
    return arrays


def _fingerprint(path):
    # Of the hashes that suffice to tell files apart, this is the fastest: 0.2 s
    # for all of QM9.
    with open(path, "rb") as file:
        return hashlib.file_digest(
            file, lambda: hashlib.sha1(usedforsecurity=False)
        ).hexdigest()


def _read_cache(path, source):
    try:
        with np.load(path, allow_pickle=False) as file:
            if file["source"] == source:
                return file["atoms"], file["positions"], file["properties"]
    except Exception:
        # The source is parsed again, whatever is wrong with the cache.
        pass
    return None


def _write_cache(path, source, arrays):
    names = ("source", "atoms", "positions", "properties")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        parts = dict(zip(names, (source, *arrays)))
        write_bytes(
            path, lambda file: np.savez(file, allow_pickle=False, **parts)
        )
    except OSError as error:
        warnings.warn(f"QM9 is not cached: {error}", stacklevel=4)


class _Row(NamedTuple):
    path: Path
    number: int  # of the line
    line: str


def _read_rows(paths, molecules, seed):
    """Returns the names of the columns, and the rows that are drawn."""
    headers, rows = {}, []
    for path in paths:
        headers[path], *lines = read_text(path).split("\n")
        rows += [_Row(path, i, x) for i, x in enumerate(lines, 2) if x.strip()]
    columns = _columns(headers)
    if molecules is not None and not 0 < molecules <= len(rows):
        raise ValueError(
            f"Expected `molecules` to be from 1 to the {len(rows)} in the "
            f"files. Received: molecules={molecules}"
        )
    chosen = np.random.default_rng(seed).permutation(len(rows))[:molecules]
    return columns, [rows[i] for i in chosen]


def _columns(headers):
    columns = {"Elements", "XYZ_Ang"}
    columns |= {item.column for item in _PROPERTIES.values()}
    try:
        found = _cells(next(iter(headers.values())))
    except csv.Error:
        found = []
    if len({*headers.values()}) > 1 or not columns <= {*found}:
        raise ValueError(
            "Expected the files `qm9_part*.csv` to start with one and the same "
            f"header, with the columns {sorted(columns)}. Received: "
            + ", ".join(f"{path}: {x[:400]!r}" for path, x in headers.items())
        )
    return found


def _cells(line):
    return next(csv.reader([line], strict=True), [])


def _parse(columns, rows):
    atoms = np.zeros((len(rows), MAX_ATOMS), "int32")
    positions = np.zeros((len(rows), MAX_ATOMS, 3), "float32")
    properties = np.zeros((len(rows), len(TASKS)))
    for i, row in enumerate(rows):
        try:
            cells = dict(zip(columns, _cells(row.line), strict=True))
            numbers, points, properties[i] = _parse_molecule(cells)
            atoms[i, : len(numbers)] = numbers
            positions[i, : len(numbers)] = points
        except (csv.Error, KeyError, TypeError, ValueError) as error:
            raise ValueError(
                "Expected a row of QM9, with up to 29 atoms of H, C, N, O and "
                "F, as many positions, and finite numbers. Received: line "
                f"{row.number} of {row.path}, {row.line[:400]!r}, {error!r}"
            ) from error
    return atoms, positions, properties


def _parse_molecule(row):
    elements = re.findall("[A-Z][a-z]?", row["Elements"])
    # QM9 writes some exponents as in Mathematica: 1.2*^-6.
    numbers = re.sub(r"[\[\]]", "", row["XYZ_Ang"].replace("*^", "e"))
    positions = np.array(numbers.split(","), "float64")
    properties = [
        _convert(item, float(row[item.column]), elements)
        for item in _PROPERTIES.values()
    ]
    for values in (positions, properties):
        # A NaN among the targets would mean that all of them are missing.
        if not np.all(np.abs(values) <= np.finfo("float32").max):
            raise ValueError("a number that is not finite")
    return (
        [_ATOMIC_NUMBERS[element] for element in elements],
        positions.reshape(len(elements), 3),
        properties,
    )


def _convert(item, value, elements):
    if item.free_atoms:
        value -= sum(item.free_atoms[element] for element in elements)
    return value * item.factor
