"""Which variables are shared, of losses that any code has computed."""


class LossSplit:
    """The shared variables and those of one task, without a graph.

    It is to losses that any code has computed what `GraphSplit` is to the
    losses of a Functional model. There is no trunk that could be run by itself,
    and so no boundary: each task's gradients pass through all that its loss
    depends on.

    Args:
        tasks: List of the names of the tasks.
        variables: List of the variables that are trained, of any kind.
        shared: List of those on which gradients are compared, or `None` for all
            that two or more tasks reach.
        keeps_rows: Whether the gradients of each task are needed in each step,
            so that they are best computed once, and at once.

    Attributes:
        is_sorted: Whether it is known which task reaches which variable.
        compared_variables: The variables on which gradients are compared.
        shared_variables: Those that two or more tasks reach, and `shared`.
        cross_variables: The same.
        head_variables: Dict of task to the variables that it alone reaches.
    """

    is_of_losses = True
    has_code_around = False
    boundary: dict = {}
    # It is noted on PyTorch, once it is known.
    written = None
    layers: dict = {}
    trunk_variables: list = []

    def __init__(self, tasks, variables, shared=None, keeps_rows=True):
        self.tasks = list(tasks)
        self.variables = list(variables)
        self.keeps_rows = keeps_rows
        self.is_sorted = False
        self._given = shared
        self._given_ids = set(map(id, shared or ()))

    def sort(self, reached):
        """Sorts the variables by the tasks that reach them.

        Args:
            reached: List of a set for each task, the `id` of each variable on
                which its loss depends.

        Raises:
            ValueError: If a loss depends on none of the variables.
        """
        self._check_reaches(reached)
        counts = {
            id(v): sum(id(v) in ids for ids in reached) for v in self.variables
        }
        self.shared_variables = [
            v
            for v in self.variables
            if counts[id(v)] > 1 or (id(v) in self._given_ids and counts[id(v)])
        ]
        self.cross_variables = self.shared_variables
        shared = set(map(id, self.shared_variables))
        self.compared_variables = self.shared_variables
        if self._given is not None:
            self.compared_variables = [
                v for v in self._given if id(v) in shared
            ]
        self.head_variables = {
            task: [v for v in self.variables if id(v) in ids - shared]
            for task, ids in zip(self.tasks, reached)
        }
        self.is_sorted = True

    def frozen_layers(self):
        """Lists the shared layers that are frozen, which only a graph tells."""
        return []

    def check_measurement(self, weighting):
        """Raises an error for what only a graph could tell.

        Args:
            weighting: `Weighting` with `needs_gradients`.

        Raises:
            ValueError: If it compares features or layers, or combines other
                gradients than those it compares.
        """
        measurement = weighting.measurement
        name = type(weighting).__name__
        if measurement.gradients == "features":
            raise ValueError(
                'Expected gradients="parameters": the features are where the '
                "trunk of a Functional graph ends, and no graph is known of "
                "losses that any code computes. Received: "
                f'gradients="features" for {name}'
            )
        if self._given is None and measurement.shared != "auto":
            raise ValueError(
                f"Expected the variables on which {name} compares gradients, "
                "since the layers are those of a graph: `shared=[...]` of a "
                f'loop, or {name}(shared="auto"). Received: '
                f"shared={measurement.shared!r}"
            )
        is_part = len(self.compared_variables) < len(self.shared_variables)
        if is_part and not weighting.is_linear:
            raise ValueError(
                f"{name} combines the gradients of all shared variables: "
                "expected `shared` to have all that two or more tasks reach. "
                f"Received: {len(self.compared_variables)} of "
                f"{len(self.shared_variables)} variables"
            )

    def _check_reaches(self, reached):
        lost = [task for task, ids in zip(self.tasks, reached) if not ids]
        if lost:
            raise ValueError(
                "Expected each loss to depend on a variable that is trained. "
                f"Received: losses of {lost} that depend on none of "
                f"{len(self.variables)} variables. Were they computed from "
                "tensors that are detached, or outside of what records?"
            )
