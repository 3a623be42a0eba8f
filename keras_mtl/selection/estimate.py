class Estimate(float):
    """An estimated value of a policy: a float that knows its error.

    Attributes:
        standard_error: The standard error of the value, if steps were
            independent of each other. Float, NaN for less than two steps.
        effective_sample_size: The number of steps of the policy itself that
            would say as much. Float, from 0 to the number of steps.
    """

    standard_error: float
    effective_sample_size: float

    def __new__(
        cls, value: float, standard_error: float, effective_sample_size: float
    ) -> "Estimate":
        self = super().__new__(cls, value)
        self.standard_error = float(standard_error)
        self.effective_sample_size = float(effective_sample_size)
        return self

    # `copy` and `pickle` call the class with these arguments.
    def __getnewargs__(self) -> tuple[float, float, float]:
        return float(self), self.standard_error, self.effective_sample_size

    def __repr__(self) -> str:
        return (
            f"Estimate({float(self):.6g}, "
            f"standard_error={self.standard_error:.3g}, "
            f"effective_sample_size={self.effective_sample_size:.1f})"
        )
