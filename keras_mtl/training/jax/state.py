import collections

# The values of the model's variables in a step, a list for each kind.
State = collections.namedtuple(
    "State", ["trainable", "others", "optimizer", "metrics"]
)

# The variables of each kind, whose values a state lists.
VARIABLES = {
    "trainable": lambda model: model.trainable_variables,
    "others": lambda model: model.non_trainable_variables,
    "optimizer": lambda model: model.optimizer.variables,
    "metrics": lambda model: model.metrics_variables,
}
