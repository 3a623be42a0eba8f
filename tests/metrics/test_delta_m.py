import numpy as np
import pytest
from keras import ops

from keras_mtl.metrics import delta_m

# Dai et al., 2023, table 2: the 11 mean absolute errors on QM9, then Δm.
QM9_SINGLE_TASK = [
    *[0.067, 0.181, 60.57, 53.91, 0.502, 4.53, 58.8, 64.2, 63.8, 66.2, 0.072]
]
QM9 = """
EW 0.106 0.325 73.57 89.67 5.19 14.06 143.4 144.2 144.6 140.3 0.128 177.6
RLW 0.113 0.340 76.95 92.76 5.86 15.46 156.3 157.1 157.6 153.0 0.137 203.8
DWA 0.107 0.325 74.06 90.61 5.09 13.99 142.3 143.0 143.4 139.3 0.125 175.3
UW 0.386 0.425 166.2 155.8 1.06 4.99 66.40 66.78 66.80 66.24 0.122 108.0
IGBv1 0.271 0.351 143.1 132.4 1.07 4.53 56.74 57.13 57.16 56.73 0.115 73.9
IGBv2 0.251 0.333 149.1 130.2 0.956 4.39 56.75 57.19 57.25 56.73 0.110 67.7
MGDA 0.217 0.368 126.8 104.6 3.22 5.69 88.37 89.40 89.32 88.01 0.120 120.5
PCGrad 0.106 0.293 75.85 88.33 3.94 9.15 116.4 116.8 117.2 114.5 0.110 125.7
CAGrad 0.118 0.321 83.51 94.81 3.21 6.93 114.0 114.3 114.5 112.3 0.116 112.8
IMTL-G 0.136 0.287 98.31 93.96 1.75 5.69 101.4 102.4 102.0 100.1 0.096 77.2
Nash 0.102 0.248 82.95 81.89 2.42 5.38 74.5 75.02 75.10 74.16 0.093 62.0
"""

# Table 1: nine metrics of three tasks on NYUv2, then Δm.
NYUV2_SINGLE_TASK = [
    *[41.16, 65.70, 0.6074, 0.2400, 24.49, 18.24, 31.92, 59.16, 70.56]
]
NYUV2_HIGHER_IS_BETTER = [
    *[True, True, False, False, False, False, True, True, True]
]
NYUV2 = """
EW 40.12 66.16 0.5189 0.2039 28.30 23.58 23.07 48.35 61.39 8.45
RLW 39.72 65.40 0.5252 0.2092 28.85 24.38 21.59 46.74 59.98 10.82
DWA 41.60 66.52 0.5041 0.2000 28.11 23.32 23.32 48.71 61.83 7.08
UW 40.29 64.60 0.5081 0.2058 26.69 21.47 26.18 52.43 65.21 4.09
IGBv1 39.91 66.03 0.4961 0.2009 26.08 20.69 27.52 54.11 66.57 1.76
IGBv2 41.66 66.98 0.5392 0.2090 25.47 19.88 28.79 55.86 68.14 0.50
MGDA 30.55 60.20 0.5728 0.2179 24.16 18.12 32.34 59.51 71.04 1.63
PCGrad 42.08 67.18 0.5098 0.1994 27.48 22.46 24.79 50.46 63.42 5.01
CAGrad 41.43 67.35 0.5042 0.1976 25.25 19.58 29.31 56.43 68.58 -1.31
IMTL-G 41.67 67.18 0.5019 0.1977 25.03 19.47 29.61 56.70 68.95 -1.76
Nash 42.96 68.30 0.4966 0.1986 24.79 18.97 30.50 57.74 69.67 -3.39
IGBv2+Nash 43.97 68.53 0.4928 0.1967 24.71 18.83 30.83 57.90 69.86 -4.15
"""


def read_rows(text):
    rows = [line.split() for line in text.strip().splitlines()]
    return [(row[0], np.array(row[1:], "float64")) for row in rows]


@pytest.mark.any_backend
@pytest.mark.parametrize("method, row", read_rows(QM9))
def test_published_qm9(method, row):
    # The table's rounding, mostly that of the small errors (0.067, 0.072),
    # allows for 0.9 at most.
    delta = delta_m(row[:-1], QM9_SINGLE_TASK)
    assert delta == pytest.approx(row[-1], abs=0.3)


@pytest.mark.any_backend
@pytest.mark.parametrize("method, row", read_rows(NYUV2))
def test_published_nyuv2(method, row):
    delta = delta_m(row[:-1], NYUV2_SINGLE_TASK, NYUV2_HIGHER_IS_BETTER)
    assert delta == pytest.approx(row[-1], abs=0.015)


def nyuv2_dict(values):
    seg, depth, normal = values[:2], values[2:4], values[4:]
    return {
        "seg": {"miou": seg[0], "accuracy": seg[1]},
        "depth": {"abs": depth[0], "rel": depth[1]},
        "normal": {
            "mean": normal[0],
            "median": normal[1],
            "within": normal[2:],
        },
    }


@pytest.mark.any_backend
@pytest.mark.parametrize(
    "higher_is_better",
    [
        ["seg", "within"],
        {"seg", "normal/within/0", "normal/within/1", "normal/within/2"},
        {"seg": True, "normal": {"within": [True, True, True]}},
        {"seg": {"miou": True, "accuracy": True}, "normal": {"within": True}},
    ],
)
def test_nested_results(higher_is_better):
    values = read_rows(NYUV2)[0][1]
    delta = delta_m(
        nyuv2_dict(values[:-1]), nyuv2_dict(NYUV2_SINGLE_TASK), higher_is_better
    )
    assert delta == pytest.approx(8.45, abs=0.015)


@pytest.mark.any_backend
def test_order_of_the_dicts_does_not_matter():
    assert delta_m({"a": 1.0, "b": 4.0}, {"b": 2.0, "a": 1.0}) == 50.0


def test_tensors_and_single_direction():
    results = ops.convert_to_tensor([1.0, 4.0])
    baseline = np.array([2.0, 4.0])
    assert delta_m(results, baseline) == -25.0
    assert delta_m(results, baseline, higher_is_better=True) == 25.0
    assert delta_m({"a": results[0]}, {"a": 2}) == -50.0


@pytest.mark.any_backend
def test_negative_baseline():
    assert delta_m({"a": -1.0}, {"a": -2.0}) == 50.0


@pytest.mark.any_backend
@pytest.mark.parametrize(
    "results, baseline, message",
    [
        ({"a": 1.0}, {"a": 1.0, "b": 2.0}, r"missing \['b'\]"),
        ({"a": 1.0, "c": 1.0}, {"a": 1.0}, r"not in `baseline` \['c'\]"),
        ({"a": {"x": 1.0}}, {"a": 1.0}, r"missing \['a'\].*\['a/x'\]"),
        ([1.0, 2.0], [1.0, 2.0, 3.0], r"missing \['2'\]"),
        ({"a": 1.0}, {"a": 0.0}, r"zero for \['a'\]"),
        ({"a": np.nan}, {"a": 1.0}, "`results` to be finite.*'a': nan"),
        ({"a": 1.0}, {"a": np.inf}, "`baseline` to be finite.*'a': inf"),
        ({}, {}, "at least one metric"),
    ],
)
def test_invalid_results(results, baseline, message):
    with pytest.raises(ValueError, match=message):
        delta_m(results, baseline)


@pytest.mark.any_backend
@pytest.mark.parametrize(
    "higher_is_better, message",
    [
        (["seg", "dpeth"], r"Received: \['dpeth'\]"),
        ("dpeth", r"Received: \['dpeth'\]"),
        ({"dpeth": True}, "Received: {'dpeth': True}"),
        ({"depth": "abs"}, "Received: {'depth': 'abs'}"),
        ([True, False], "Received: {'0': True, '1': False}"),
    ],
)
def test_invalid_directions(higher_is_better, message):
    values = {"seg": 1.0, "depth": 1.0}
    with pytest.raises(ValueError, match=message):
        delta_m(values, values, higher_is_better)
