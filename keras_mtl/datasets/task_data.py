from typing import Any

SPLITS = ("train", "validation", "test")


class TaskData(tuple):
    """A multi-task data set, as every loader of this package returns it.

    A data set has up to three splits, `train`, `validation` and `test`. Each
    has one of two forms, the same for all splits:

    - Inputs that the tasks share: `(x, {task: y})`, the arguments of `fit`.
    - Inputs of each task: `{task: (x, y)}`, for `selection.TaskSampler` once
      `x` are arrays.

    Here `x` is an array or a dict of arrays, and `y` an array, each with an
    example per row. Where the data are texts, that are yet to become numbers,
    a list of strings stands in place of an array in `x`.

    The object is a tuple as well, of the splits that there are and of what
    `info` holds. So `train, validation, test, statistics = qm9.load_data()`
    unpacks it.

    Args:
        train: The training split.
        validation: The validation split, or `None` if there is none.
        test: The test split, or `None` if there is none.
        info: Dict of what else is known of the data, such as `"statistics"` or
            `"vocabulary"`.
        items: The items of the tuple, where they are others than the splits.

    Attributes:
        train: As the argument, and so are `validation` and `test`.
        info: Dict, empty if nothing else is known.
        splits: Dict of the name of a split to the split, for those there are.
        shares_inputs: Whether a split is `(x, {task: y})`.
        tasks: Tuple of the tasks' names.

    Example:

    >>> x = np.zeros((2, 3))
    >>> data = keras_mtl.datasets.TaskData((x, {"seg": x, "depth": x}))
    >>> data
    TaskData(tasks=['seg', 'depth'], splits=['train'], shares_inputs=True)
    >>> data.splits["train"] is data.train
    True
    """

    train: Any
    validation: Any
    test: Any
    info: dict[str, Any]

    def __new__(
        cls,
        train: tuple | dict,
        validation: tuple | dict | None = None,
        test: tuple | dict | None = None,
        info: dict[str, Any] | None = None,
        items: tuple | None = None,
    ) -> "TaskData":
        splits = train, validation, test
        info = dict(info or {})
        if items is None:
            found = [x for x in splits if x is not None]
            items = (*found, *info.values())
        self = super().__new__(cls, items)
        self.train, self.validation, self.test = splits
        self.info = info
        return self

    # `copy` and `pickle` call the class with these arguments.
    def __getnewargs__(self) -> tuple:
        splits = self.train, self.validation, self.test
        return *splits, self.info, tuple(self)

    @property
    def splits(self) -> dict[str, Any]:
        splits = {name: getattr(self, name) for name in SPLITS}
        return {name: x for name, x in splits.items() if x is not None}

    @property
    def shares_inputs(self) -> bool:
        return not isinstance(self.train, dict)

    @property
    def tasks(self) -> tuple[str, ...]:
        return tuple(self.train[1] if self.shares_inputs else self.train)

    def __repr__(self) -> str:
        info = f", info={list(self.info)}" if self.info else ""
        return (
            f"TaskData(tasks={list(self.tasks)}, splits={list(self.splits)}, "
            f"shares_inputs={self.shares_inputs}{info})"
        )
