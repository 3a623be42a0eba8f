import contextlib
import json
import math
import os
import re
import warnings
from collections.abc import Mapping
from typing import Any

from keras_mtl import weightings as weightings_module
from keras_mtl.backend import files
from keras_mtl.benchmarking import labels
from keras_mtl.benchmarking.setting import anew
from keras_mtl.benchmarking.settings import describe
from keras_mtl.metrics import metric_values

# The line of a run begins with this.
_LINE_START = '{"label": '
_LATER_START = re.compile("(?<=.)" + re.escape(_LINE_START))
# A string of JSON, whose end may be missing.
_STRING = re.compile(r'"(?:[^"\\]|\\.)*("|\\?$)')
# Settings are nested less deeply than this. Python fails at 1000.
_MAX_DEPTH = 100


class RunLog:
    """The runs that are done, by seed and label, and their file.

    Args:
        path: As of `benchmark`.
        settings: Dict of label to what its runs depend on, in JSON.
        weightings: Dict of label to weighting.
    """

    def __init__(
        self,
        path: str | os.PathLike | None,
        settings: Mapping[str, dict[str, Any]],
        weightings: Mapping[str, Any],
    ) -> None:
        self._path = path
        self._runs: dict[tuple[int, str], dict[str, Any]] = {}
        if path is None:
            return
        described = {
            label: describe(weightings_module.get(anew(weighting)))
            for label, weighting in weightings.items()
        }
        self._settings = {
            label: json.loads(
                files.to_json({**settings[label], "weighting": weighting})
            )
            for label, weighting in described.items()
        }
        for record in _read_records(path):
            self._add(record)

    def _add(self, record: dict[str, Any]) -> None:
        settings = record.pop("settings")
        is_renamed = self._rename(record, settings["weighting"])
        # The file may hold runs of other weightings, which are not compared.
        own = _of_another(settings, next(iter(self._settings.values())))
        differences = _differences(
            settings, self._settings.get(record["label"], own)
        )
        if differences:
            raise ValueError(
                f"Expected {self._path} to hold runs with the same settings, "
                f"or to be a new file. Received: for '{record['label']}', "
                + "; ".join(differences)
            )
        run = record["seed"], record["label"]
        if not (is_renamed and run in self._runs):
            self._runs[run] = record

    def _rename(self, record: dict[str, Any], weighting: Any) -> bool:
        """Finds a run that was recorded under another spelling of its name."""
        label = labels.among(record["label"], self._settings)
        if label == record["label"] or label not in self._settings:
            return False
        is_same = self._settings[label]["weighting"] == weighting
        if is_same:
            record["label"] = label
        return is_same

    def __contains__(self, run: tuple[int, str]) -> bool:
        return run in self._runs

    def __getitem__(self, run: tuple[int, str]) -> dict[str, Any]:
        return self._runs[run]

    def append(self, record: dict[str, Any]) -> None:
        """Adds a run, and writes it to the disk before returning."""
        self._runs[record["seed"], record["label"]] = record
        if self._path is None:
            return
        settings = self._settings[record["label"]]
        line = files.to_json({**record, "settings": settings}) + "\n"
        with open(self._path, "a", encoding="utf-8") as file:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())


def _read_records(path: str | os.PathLike) -> list[dict[str, Any]]:
    """Reads the runs of a file; removes lines that a kill has cut."""
    path = os.fspath(path)
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    # A file that cannot be written fails here, before the first run.
    with open(path, "a+", encoding="utf-8", errors="replace") as file:
        file.seek(0)
        *lines, rest = file.read().split("\n")
    if rest and not _begins_as_run(rest):
        # This is another file: it is refused.
        lines.append(rest)
    whole, cut = {}, []
    for number, line in enumerate(lines, 1):
        try:
            runs = _runs_in(line)
        except Exception as error:
            raise ValueError(
                f"Expected {path} to be a new file, or one with the runs of a "
                f"benchmark. Received: line {number}, {line[:60]!r}, "
                f"{files.received(error)}"
            ) from error
        whole.update(runs)
        if list(runs) != [line]:
            cut.append(f"Line {number}")
    if rest:
        cut.append("The last line")
    for line in cut:
        warnings.warn(
            f"{line} of {path} is not whole: its run is repeated.", stacklevel=4
        )
    if cut:
        files.write(path, "".join(text + "\n" for text in whole))
    return list(whole.values())


def _runs_in(line: str) -> dict[str, dict[str, Any]]:
    """Returns the runs that are whole in a line, dict of text to record.

    Where a process was killed while it wrote, and another one went on, the line
    of a run follows half a line.
    """
    try:
        return {line: _parse(line)}
    except Exception:
        starts = [match.start() for match in _LATER_START.finditer(line)]
        for start in reversed(starts):
            with contextlib.suppress(Exception):
                last = {line[start:]: _parse(line[start:])}
                return {**_runs_in(line[:start]), **last}
        if any(map(_is_cut, (line, line[(starts or [0])[-1] :]))):
            return {}
        raise


def _begins_as_run(text: str) -> bool:
    return bool(text) and text.startswith(_LINE_START[: len(text)])


def _is_cut(text: str) -> bool:
    """Whether a run begins, and its JSON lacks an end."""
    outside = _STRING.sub("", text)
    return _begins_as_run(text) and (
        outside.count("{") > outside.count("}") or len(text) < len(_LINE_START)
    )


def _parse(line: str) -> dict[str, Any]:
    """Returns a record, or raises one of many errors."""
    record = json.loads(line)
    if max(map(len, metric_values.flatten(record))) > _MAX_DEPTH:
        raise ValueError("deeply nested JSON")
    for name in ("metrics", "history", "validation"):
        # Only runs whose best epoch was selected have the last one.
        values = record.get(name, {}) if name == "validation" else record[name]
        for key, value in values.items():
            values[key] = _numbers(value)
    for key in ("seconds", "seconds_per_step"):
        record[key] = _numbers(record[key])
    for key, kind in (("label", str), ("seed", int), ("epochs", int)):
        if not isinstance(record[key], kind):
            raise TypeError(f"`{key}` is {record[key]!r}")
    record["settings"]["weighting"]
    return record


def _numbers(value: Any) -> Any:
    """Converts numbers to floats, and null to NaN."""
    if isinstance(value, list):
        return [_numbers(item) for item in value]
    if isinstance(value, str):
        raise TypeError(f"the text {value[:60]!r} in place of a number")
    return math.nan if value is None else float(value)


def _of_another(settings: dict[str, Any], own: dict) -> dict[str, Any]:
    """Returns which settings are expected of a run of another weighting.

    Args:
        settings: Those of that run.
        own: Those of a run that is compared.
    """
    expected = {**own, "weighting": settings["weighting"]}
    if "setting" not in settings and "setting" not in own:
        return expected
    # Each may have an optimizer and epochs of its own, and a search is tested
    # on other data. The model and the training data are the same.
    free = set(settings) | set(own)
    for name in free - {"backend", "model", "fit"}:
        expected.pop(name, None)
        if name in settings:
            expected[name] = settings[name]
    epochs = settings["fit"].get("epochs")
    expected["fit"] = {**expected["fit"], "epochs": epochs}
    return expected


def _differences(old: dict, new: dict) -> list[str]:
    old = metric_values.flatten(old)
    new = metric_values.flatten(new)
    return [
        f"`{metric_values.name(path)}` is {old.get(path)!r} in the file and "
        f"{new.get(path)!r} now"
        for path in {**new, **old}
        if old.get(path) != new.get(path)
    ][:5]
