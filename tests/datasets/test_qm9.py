"""QM9 is read, converted, standardized, split and cached as documented."""

import importlib.util
import os

import numpy as np
import pytest

from keras_mtl.datasets import qm9

pytestmark = pytest.mark.any_backend

HEADER = (
    "XYZ_file,Index,N_atoms,Elements,XYZ_Ang,RotA_GHz,Dipole_debye,"
    "Polarizability_bohr3,HOMO_au,LUMO_au,HOMO_LUMO_gap_au,R2_bohr2,ZPVE_au,"
    "InternalEnergy_0K_au,InternalEnergy_298K_au,Enthalphy_298K_au,"
    "GibbsFreeEnergy_298K_au,Heatcapacity_Cv_cal_mol_K"
)
# The properties of methane in QM9, in the units of the CSV files.
METHANE = (
    "157.7118,0.,13.21,-0.3877,0.1171,0.5048,35.3641,0.044749,-40.47893,"
    "-40.476062,-40.475117,-40.498597,6.469"
)
METHANE_POSITIONS = (
    "[[-0.0126981359,1.0858041578,8.0009958*^-3],"
    "[0.002150416,-0.0060313176,1.97612e-3],"
    "[1.0117308433,1.4637511618,2.765748*^-4],"
    "[-0.540815069,1.4475266138,-0.8766437152],"
    "[-.5238136345,1.4379326443,.9063972942]]"
)
EV = 1000.0  # in meV
KCAL_MOL = 1e6 * 4184 / 96485.33212 / 1000  # in meV
ONE_OF_METHANE = {
    "mu": 0.0,
    "alpha": 13.21,
    "homo": -10.5499 * EV,
    "lumo": 3.1865 * EV,
    "r2": 35.3641,
    "zpve": 1.2177 * EV,
    # As MoleculeNet publishes the atomization energies.
    "u0": -395.999594594 * KCAL_MOL,
    "u": -398.643290011 * KCAL_MOL,
    "h": -401.014646522 * KCAL_MOL,
    "g": -372.471772148 * KCAL_MOL,
    "cv": 6.469,
}


def row(index, elements, positions, properties):
    return (
        f'"dsgdb9nsd_{index:06}.xyz",{index},{len(elements)},'
        f'"{elements}","{positions}",{properties}'
    ).replace(" ", "")


def hydrogen_fluoride(index):
    """A made-up molecule, of which the dipole moment gives the index."""
    numbers = np.random.default_rng(index).normal(size=11).round(4)
    properties = ",".join(str(x) for x in [1.0, index, *numbers])
    return row(index, ["H", "F"], "[[0.,0.,0.],[0.,0.,0.92]]", properties)


def molecules():
    methane = row(1, ["C", "H", "H", "H", "H"], METHANE_POSITIONS, METHANE)
    return [methane, *(hydrogen_fluoride(i) for i in range(2, 41))]


@pytest.fixture
def rows():
    return molecules()


def write(folder, rows, header=HEADER):
    folder.mkdir(exist_ok=True)
    for part, lines in enumerate(np.array_split(rows, 3)):
        text = "\n".join([header, *lines]) + "\n"
        (folder / f"qm9_part{part + 1}.csv").write_text(text)
    return folder


@pytest.fixture
def load(tmp_path, rows):
    data_dir = write(tmp_path / "csv", rows)

    def load(molecules=None, **kwargs):
        kwargs = {
            "data_dir": data_dir,
            "cache_dir": tmp_path / "cache",
            **kwargs,
        }
        return qm9.load_data(molecules, **kwargs)

    return load


def properties(split, statistics):
    """The targets in the papers' units, of shape `(n, 11)`."""
    return np.concatenate(
        [
            np.float64(split[1][task]) * statistics[task].std
            + statistics[task].mean
            for task in qm9.TASKS
        ],
        axis=1,
    )


def everything(data):
    """Inputs and properties of all molecules, in the order of their index."""
    *splits, statistics = data
    values = np.concatenate([properties(s, statistics) for s in splits])
    order = np.argsort(values[:, 0])
    inputs = {
        name: np.concatenate([s[0][name] for s in splits])[order]
        for name in ("atoms", "positions")
    }
    return inputs, values[order]


def indices(split, statistics):
    """The indices of the molecules, zero for methane."""
    return properties(split, statistics)[:, 0].round().astype(int).tolist()


def indices_of_all(data):
    return sum((indices(split, data[3]) for split in data[:3]), [])


def assert_equal_data(a, b):
    assert a[3] == b[3]
    for split_a, split_b in zip(a[:3], b[:3]):
        for part_a, part_b in zip(split_a, split_b):
            assert part_a.keys() == part_b.keys()
            for name in part_a:
                np.testing.assert_array_equal(part_a[name], part_b[name])


def test_properties_are_in_the_papers_units(load):
    _, values = everything(load())
    expected = [ONE_OF_METHANE[task] for task in qm9.TASKS]
    # The published numbers in eV have five digits.
    np.testing.assert_allclose(values[0], expected, rtol=1e-4, atol=1e-3)


def test_units_are_named(load):
    units = {task: s.unit for task, s in load()[3].items()}
    assert units == {
        "mu": "D",
        "alpha": "bohr^3",
        "homo": "meV",
        "lumo": "meV",
        "r2": "bohr^2",
        "zpve": "meV",
        "u0": "meV",
        "u": "meV",
        "h": "meV",
        "g": "meV",
        "cv": "cal/(mol K)",
    }


def test_geometries_are_parsed_and_padded(load):
    inputs, _ = everything(load())
    assert inputs["atoms"].dtype == "int32"
    assert inputs["positions"].dtype == "float32"
    assert inputs["positions"].shape == (40, 29, 3)
    assert inputs["atoms"][0].tolist() == [6, 1, 1, 1, 1] + 24 * [0]
    assert inputs["atoms"][1].tolist() == [1, 9] + 27 * [0]
    np.testing.assert_allclose(
        inputs["positions"][0, :5],
        [
            [-0.0126981359, 1.0858041578, 0.0080009958],
            [0.002150416, -0.0060313176, 0.00197612],
            [1.0117308433, 1.4637511618, 0.0002765748],
            [-0.540815069, 1.4475266138, -0.8766437152],
            [-0.5238136345, 1.4379326443, 0.9063972942],
        ],
        rtol=1e-6,
    )
    assert not inputs["positions"][0, 5:].any()


def test_targets_are_standardized_over_the_training_split(load):
    train, validation, _, statistics = load()
    for task in qm9.TASKS:
        assert train[1][task].dtype == "float32"
        assert train[1][task].shape == (32, 1)
        np.testing.assert_allclose(train[1][task].mean(), 0, atol=1e-6)
        np.testing.assert_allclose(train[1][task].std(), 1, rtol=1e-5)
    indices_of_train = np.array(indices(train, statistics), "float64")
    np.testing.assert_allclose(statistics["mu"].mean, indices_of_train.mean())
    np.testing.assert_allclose(statistics["mu"].std, indices_of_train.std())
    assert abs(validation[1]["mu"].mean()) > 1e-3


def test_a_constant_property_becomes_zero(tmp_path):
    same = hydrogen_fluoride(2)
    data = qm9.load_data(
        10, data_dir=write(tmp_path, 10 * [same]), cache_dir=tmp_path
    )
    assert data[3]["homo"].std == 1.0
    np.testing.assert_allclose(data[0][1]["homo"], 0.0, atol=1e-6)


def test_splits_are_disjoint_and_complete(load):
    *splits, statistics = load()
    found = [indices(split, statistics) for split in splits]
    assert [len(x) for x in found] == [32, 4, 4]
    assert sorted(sum(found, [])) == [0, *range(2, 41)]


@pytest.mark.parametrize(
    "splits, sizes",
    [((0.5, 0.25, 0.25), [20, 10, 10]), ((30, 9, 1), [30, 9, 1])],
)
def test_splits_are_relative_sizes(load, splits, sizes):
    data = load(splits=splits)
    assert [len(split[0]["atoms"]) for split in data[:3]] == sizes


def test_splits_of_the_papers(load, monkeypatch):
    data = load(26, splits="papers")
    assert [len(split[0]["atoms"]) for split in data[:3]] == [22, 2, 2]
    assert qm9.PAPER_SPLITS == (110_000, 10_000, 10_000)
    with pytest.raises(
        ValueError, match="from 1 to the 40.*: molecules=130000"
    ):
        load(None, splits="papers")
    monkeypatch.setattr(qm9, "PAPER_SPLITS", (30, 4, 5))
    data = load(None, splits="papers")
    assert [len(split[0]["atoms"]) for split in data[:3]] == [30, 4, 5]
    with pytest.raises(ValueError, match="\"papers\" or.*splits='paper'"):
        load(splits="paper")


def test_seed_draws_the_molecules(load, tmp_path):
    first = load(20, seed=3)
    again = load(20, seed=3, cache_dir=tmp_path / "other")
    assert_equal_data(first, again)
    other = load(20, seed=4)
    assert indices(first[0], first[3]) != indices(other[0], other[3])


def test_fewer_molecules_are_a_subset_of_more(load):
    assert {*indices_of_all(load(10))} < {*indices_of_all(load(30))}


def test_cache_is_read_instead_of_the_files(load, monkeypatch):
    parsed = load(20)
    monkeypatch.setattr(qm9, "_parse", None)
    assert_equal_data(load(20), parsed)
    with pytest.raises(TypeError, match="not callable"):
        load(19)
    with pytest.raises(TypeError, match="not callable"):
        load(20, seed=1)


def test_cache_of_other_files_is_not_used(load, tmp_path, rows):
    assert 40 in indices_of_all(load())
    others = write(tmp_path / "others", rows[:-1])
    assert 40 not in indices_of_all(load(data_dir=others))
    assert 40 in indices_of_all(load())


def test_cache_of_a_file_of_the_same_size_is_not_used(load, tmp_path):
    before = load()
    path = tmp_path / "csv" / "qm9_part1.csv"
    times = os.stat(path)
    path.write_text(path.read_text().replace("13.21", "99.99"))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert load()[3]["alpha"] != before[3]["alpha"]


def truncate(path):
    path.write_bytes(path.read_bytes()[:1000])


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)


def foreign(path):
    with open(path, "wb") as file:
        np.savez(file, weights=np.ones(3))


def array(path):
    with open(path, "wb") as file:
        np.save(file, np.ones(3))


@pytest.mark.parametrize("damage", [truncate, flip, foreign, array])
def test_damaged_cache_is_replaced(load, tmp_path, damage):
    parsed = load(20)
    (cache,) = (tmp_path / "cache").iterdir()
    content = cache.read_bytes()
    damage(cache)
    assert_equal_data(load(20), parsed)
    assert [*(tmp_path / "cache").iterdir()] == [cache]
    assert cache.read_bytes() == content


class Malicious:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


def test_cache_runs_no_code(load, tmp_path):
    parsed = load(20)
    (cache,) = (tmp_path / "cache").iterdir()
    arrays = {**np.load(cache)}
    victim = tmp_path / "victim"
    arrays["atoms"] = np.array([Malicious(str(victim))], dtype=object)
    with open(cache, "wb") as file:
        np.savez(file, **arrays)
    assert_equal_data(load(20), parsed)
    assert not victim.exists()


def test_interrupted_cache_leaves_nothing(load, tmp_path, monkeypatch):
    def interrupt(file, **arrays):
        file.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "savez", interrupt)
    with pytest.raises(KeyboardInterrupt):
        load(20)
    assert not [*(tmp_path / "cache").iterdir()]


def test_cache_that_cannot_be_written_warns(load, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.warns(UserWarning, match="QM9 is not cached"):
        data = load(20, cache_dir=tmp_path / "file" / "cache")
    assert_equal_data(data, load(20))


def test_cache_is_in_the_home_of_keras(load, tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "home"))
    load(20, cache_dir=None)
    assert len([*(tmp_path / "home" / "datasets").glob("qm9_20_*.npz")]) == 1


def test_missing_package_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match="Type `pip install qm9pack=="):
        qm9.load_data(cache_dir=tmp_path)


def test_missing_files(tmp_path):
    with pytest.raises(FileNotFoundError, match="Received: data_dir=.*nothing"):
        qm9.load_data(data_dir=tmp_path / "nothing", cache_dir=tmp_path)


@pytest.mark.parametrize("molecules", [0, -1, 41])
def test_wrong_number_of_molecules(load, molecules):
    with pytest.raises(
        ValueError, match=f"1 to the 40 .* Received: molecules={molecules}"
    ):
        load(molecules)


@pytest.mark.parametrize("splits", [(0.9, 0.1), (1, 0, 1), (2, -1, 1)])
def test_wrong_splits(load, splits):
    with pytest.raises(ValueError, match="three positive sizes.*Received"):
        load(splits=splits)


def test_empty_split(load):
    with pytest.raises(ValueError, match="each split.*Received: 3 molecules"):
        load(3)


@pytest.mark.parametrize("header", ["", HEADER.replace("HOMO_au", "HOMO")])
def test_other_layout(tmp_path, rows, header):
    data_dir = write(tmp_path, rows, header)
    with pytest.raises(ValueError, match="one and the same header.*HOMO_au"):
        qm9.load_data(10, data_dir=data_dir, cache_dir=tmp_path)


def test_headers_that_differ(tmp_path, rows):
    data_dir = write(tmp_path, rows)
    path = data_dir / "qm9_part2.csv"
    path.write_text(path.read_text().replace("Index", "Number"))
    with pytest.raises(ValueError, match=f"same header.*{path}: '.*Number"):
        qm9.load_data(10, data_dir=data_dir, cache_dir=tmp_path)


HF = "[[0.,0.,0.],[0.,0.,1.]]"
BROKEN = {
    "element": row(7, ["H", "Xe"], HF, METHANE),
    "positions": row(7, ["H", "F"], "[[0.,0.,0.]]", METHANE),
    "number": row(7, ["H", "F"], HF.replace("1.", "x"), METHANE),
    "cut": row(7, ["H", "F"], HF, METHANE[:-9]),
    "too many atoms": row(
        7, 30 * ["H"], [[0.0, 0.0, float(i)] for i in range(30)], METHANE
    ),
    "too many cells": row(7, ["H", "F"], HF, METHANE + ",1."),
    "not a number": row(7, ["H", "F"], HF, METHANE.replace("0.1171", "nan")),
    "infinite": row(7, ["H", "F"], HF, METHANE.replace("0.1171", "-inf")),
    "too large": row(7, ["H", "F"], HF, METHANE.replace("0.1171", "1e36")),
    "not a position": row(7, ["H", "F"], HF.replace("1.", "nan"), METHANE),
    "far away": row(7, ["H", "F"], HF.replace("1.", "1*^39"), METHANE),
    "open quotation": row(7, ["H", "F"], HF, METHANE).replace(']]"', "]]"),
    "long": row(7, ["H", "F"], HF, METHANE) + 200000 * "0",
}


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_row(kind, tmp_path, rows):
    data_dir = write(tmp_path, [*rows, BROKEN[kind]])
    path = data_dir / "qm9_part3.csv"
    with pytest.raises(
        ValueError, match=f"row of QM9.*Received: line 14 of {path}, .*000007"
    ):
        qm9.load_data(None, data_dir=data_dir, cache_dir=tmp_path)


needs_qm9pack = pytest.mark.skipif(
    importlib.util.find_spec("qm9pack") is None,
    reason="qm9pack is not installed",
)


@needs_qm9pack
def test_real_molecules(tmp_path):
    train, validation, test, statistics = qm9.load_data(
        2000, cache_dir=tmp_path
    )
    sizes = [len(split[0]["atoms"]) for split in (train, validation, test)]
    assert sizes == [1600, 200, 200]
    assert os.path.getsize(next(tmp_path.iterdir())) < 2e6
    assert {*np.unique(train[0]["atoms"])} == {0, 1, 6, 7, 8, 9}
    # Mean and standard deviation of all of QM9, within five standard errors.
    for task, mean, std in [
        ("mu", 2.67, 1.50),
        ("alpha", 75.3, 8.17),
        ("homo", -6536, 598),
        ("r2", 1189, 280),
        ("u0", -76.1e3, 10.3e3),
        ("cv", 31.6, 4.06),
    ]:
        tolerance = 5 * std / np.sqrt(1600)
        np.testing.assert_allclose(
            statistics[task].mean, mean, rtol=0, atol=tolerance
        )
        np.testing.assert_allclose(statistics[task].std, std, rtol=0.2)


@needs_qm9pack
def test_real_geometries_are_bonded(tmp_path):
    (inputs, _), *_ = qm9.load_data(100, cache_dir=tmp_path)
    for atoms, positions in zip(inputs["atoms"], inputs["positions"]):
        positions = positions[atoms > 0]
        distances = np.linalg.norm(positions[:, None] - positions, axis=-1)
        np.fill_diagonal(distances, np.inf)
        nearest = distances.min(axis=1)
        # Bonds of H, C, N, O and F are 0.95 to 1.6 angstrom long.
        assert nearest.min() > 0.9 and nearest.max() < 1.7
