import json
import math
import os
import warnings
from collections.abc import Mapping
from typing import Any

from keras_mtl import weightings as weightings_module
from keras_mtl.backend import files
from keras_mtl.benchmarking.settings import describe
from keras_mtl.benchmarking.training import anew
from keras_mtl.metrics import metric_values

# The line of a run begins with this.
_LINE_START = '{"label": '


class RunLog:
    """The runs that are done, by seed and label, and their file.

    Args:
        path: As of `benchmark`.
        settings: What all runs have in common, in JSON.
        weightings: Dict of label to weighting.
    """

    def __init__(
        self,
        path: str | os.PathLike | None,
        settings: dict[str, Any],
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
                files.to_json({**settings, "weighting": weighting})
            )
            for label, weighting in described.items()
        }
        for record in _read_records(path):
            self._add(record)

    def _add(self, record: dict[str, Any]) -> None:
        settings = record.pop("settings")
        # The file may hold runs of other weightings, which are not compared.
        own = next(iter(self._settings.values()))
        own = {**own, "weighting": settings["weighting"]}
        differences = _differences(
            settings, self._settings.get(record["label"], own)
        )
        if differences:
            raise ValueError(
                f"Expected {self._path} to hold runs with the same settings, "
                f"or to be a new file. Received: for '{record['label']}', "
                + "; ".join(differences)
            )
        self._runs[record["seed"], record["label"]] = record

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
    """Reads the runs of a file; removes a last line that is not whole."""
    path = os.fspath(path)
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    # A file that cannot be written fails here, before the first run.
    with open(path, "a+", encoding="utf-8", errors="replace") as file:
        file.seek(0)
        *lines, rest = file.read().split("\n")
    records = [_parse(line, path) for line in lines]
    if rest:
        if not rest.startswith(_LINE_START[: len(rest)]):
            _parse(rest, path)
        warnings.warn(
            f"The last line of {path} is not whole: its run is repeated.",
            stacklevel=4,
        )
        files.write(path, "".join(line + "\n" for line in lines))
    return records


def _parse(line: str, path: str) -> dict[str, Any]:
    try:
        record = json.loads(line)
        for values in (record["metrics"], record["history"]):
            for key, value in values.items():
                values[key] = _null_to_nan(value)
        record["seed"], record["label"], record["settings"]["weighting"]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(
            f"Expected {path} to be a new file, or one with the runs of a "
            f"benchmark. Received: the line {line[:60]!r}"
        ) from error
    return record


def _null_to_nan(value: Any) -> Any:
    if isinstance(value, list):
        return [_null_to_nan(item) for item in value]
    return math.nan if value is None else value


def _differences(old: dict, new: dict) -> list[str]:
    old = metric_values.flatten(old)
    new = metric_values.flatten(new)
    return [
        f"`{metric_values.name(path)}` is {old.get(path)!r} in the file and "
        f"{new.get(path)!r} now"
        for path in {**new, **old}
        if old.get(path) != new.get(path)
    ][:5]
