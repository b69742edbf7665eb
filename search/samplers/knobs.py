"""Expresses the joint space as Optuna's distributions."""

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from paredown.spaces.knob import Value
from paredown.spaces.space import SearchSpace


def distributions(space: SearchSpace) -> dict[str, BaseDistribution]:
    """Return the distribution of every knob that leaves a choice, in the order in which the space samples them."""
    recorder = _Recorder()
    space.sample(recorder)
    return recorder.distributions


class _Recorder:
    """A sampler that records the distributions it is asked for and answers with the first value."""

    def __init__(self) -> None:
        self.distributions: dict[str, BaseDistribution] = {}

    def suggest_categorical(self, name: str, choices: tuple[Value, ...]) -> Value:
        self.distributions[name] = CategoricalDistribution(choices)
        return choices[0]

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1) -> int:
        self.distributions[name] = IntDistribution(low, high, step=step)
        return low

    def suggest_float(self, name: str, low: float, high: float, *, step: float | None = None) -> float:
        self.distributions[name] = FloatDistribution(low, high, step=step)
        return low
