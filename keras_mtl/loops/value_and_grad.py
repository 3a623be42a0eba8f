from collections.abc import Callable
from typing import Any

from keras_mtl import weightings
from keras_mtl.loops.of_backend import loop_of_backend
from keras_mtl.training.loop import loop_of

# A nest of arrays.
PyTree = Any


class ValueAndGrad:
    """A pure function that returns losses and balanced gradients.

    `value_and_grad` makes it.

    Args:
        function: As of `value_and_grad`, as are all arguments.
        weighting: `Weighting`.
        shared: Nest of Booleans, or `None`.
        has_aux: Whether the function returns `(losses, aux)`.

    Attributes:
        weighting: The `Weighting`. A step reads and writes the state that it is
            given, and none of its variables.
    """

    def __init__(
        self,
        function: Callable,
        weighting: weightings.Weighting,
        shared: PyTree = None,
        has_aux: bool = False,
    ) -> None:
        self._loop = loop_of_backend("jax")
        loop_of(weighting)
        self.weighting = weighting
        self._function = function
        self._shared = shared
        self._has_aux = has_aux

    def init(self, parameters: PyTree, *args: Any, **kwargs: Any) -> list:
        """Returns the state of the weighting before the first step.

        Args:
            parameters: As of a step, as are all arguments. Nothing is computed
                from them but what the losses are called.
        """
        self._loop.tasks_of(self._of(args, kwargs), self.weighting, parameters)
        return [variable.value for variable in self.weighting.variables]

    def __call__(
        self,
        state: list,
        parameters: PyTree,
        *args: Any,
        loss_scale: Any = 1.0,
        **kwargs: Any,
    ) -> tuple:
        """Returns the losses, the balanced gradients, and the new state.

        Args:
            state: What `init` or the last step returned.
            parameters: Nest of arrays that are trained.
            *args: Further arguments of the function.
            loss_scale: Factor of all gradients, of mixed precision.
            **kwargs: Further arguments of the function.

        Returns:
            Tuple `(losses, gradients, state)`, with `has_aux`
            `((losses, aux), gradients, state)`. The gradients are a nest as
            `parameters`.
        """
        (value, gradients), state = self._loop.in_scope(
            self.weighting,
            state,
            lambda: self._loop.gradients_of(
                self._of(args, kwargs),
                self.weighting,
                parameters,
                self._shared,
                loss_scale,
            ),
        )
        losses, aux = value
        return (losses, aux) if self._has_aux else losses, gradients, state

    def on_epoch_begin(self, state: list) -> list:
        """Returns the state after the hook of the weighting, as `fit` calls it.

        It is called between the steps, not inside of `jax.jit`.
        """
        return self._after(state, self.weighting.on_epoch_begin)

    def on_epoch_end(self, state: list) -> list:
        """Returns the state after the hook of the weighting, as `fit` calls it.

        It is called between the steps, not inside of `jax.jit`.
        """
        return self._after(state, self.weighting.on_epoch_end)

    def after_step(self, state: list, losses: Any) -> list:
        """Returns the state after the losses with the new parameters are known.

        Args:
            state: What the step returned.
            losses: The losses on its batch, as the function returns them.
        """
        losses = self._loop.stacked(loop_of(self.weighting).in_order(losses))
        return self._after(state, lambda: self.weighting.after_step(losses))

    def weights(self, state: list) -> Any:
        """Returns the weights of the last step, shape `(T,)`."""
        variables = self.weighting.variables
        places = {id(v): i for i, v in enumerate(variables)}
        return state[places[id(self.weighting.task_weights)]]

    def assign(self, state: list) -> None:
        """Writes a state to the variables of the weighting, for saving it."""
        for variable, value in zip(self.weighting.variables, state):
            variable.assign(value)

    def _after(self, state, function):
        return self._loop.in_scope(self.weighting, state, function)[1]

    def _of(self, args, kwargs):
        def of_parameters(parameters):
            returned = self._function(parameters, *args, **kwargs)
            return returned if self._has_aux else (returned, None)

        return of_parameters


def value_and_grad(
    function: Callable,
    weighting: Any,
    shared: PyTree = None,
    has_aux: bool = False,
) -> ValueAndGrad:
    """Makes a function of balanced gradients, as `jax.value_and_grad` does.

    For a loop on JAX. The function that it returns is pure, the state of the
    weighting comes in and goes out, so that it can be compiled, and called in
    a `jax.lax.scan`.

    Which parameters are shared is read from the traced program: the arrays on
    which two or more losses depend. Their gradients are balanced; an array that
    one loss alone depends on gets the gradient of that loss.

    ```python
    def losses_of(parameters, x, y):
        outputs = apply(parameters, x)
        return {"depth": depth_loss(outputs, y), "normals": ...}

    balanced = keras_mtl.loops.value_and_grad(losses_of, "nash_mtl")
    state = balanced.init(parameters, x, y)

    @jax.jit
    def step(parameters, opt_state, state, x, y):
        losses, gradients, state = balanced(state, parameters, x, y)
        updates, opt_state = optimizer.update(gradients, opt_state)
        parameters = optax.apply_updates(parameters, updates)
        return parameters, opt_state, state, losses
    ```

    Methods that need them have their hooks: `balanced.on_epoch_begin(state)`,
    `on_epoch_end(state)` and `after_step(state, new_losses)`, which return the
    new state.

    Args:
        function: Function of the parameters, a nest of arrays, and of any
            further arguments, that returns a dict of task to scalar, or a list
            of scalars; with `has_aux`, a tuple of that and anything else.
        weighting: What `keras_mtl.weightings.get` takes.
        shared: Nest of Booleans, for the parameters or for parts of them
            (`{"trunk": True, "heads": False}`): on which arrays gradients are
            compared; by default on all shared ones. The weights act on all.
        has_aux: Whether the function returns more than the losses.

    Returns:
        A `ValueAndGrad`.

    Raises:
        ValueError: If JAX is not the backend of Keras. In a step: if a loss is
            not scalar or depends on no array, no array is shared by two losses
            and the weighting needs gradients, or the tasks are others than
            before.
    """
    weighting = weightings.get(weighting)
    return ValueAndGrad(function, weighting, shared, has_aux)
