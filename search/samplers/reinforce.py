"""A controller learns by policy gradient which value of each knob earns the highest reward.

The controller has one softmax per knob over its values (at most 16, spread over a longer range). The reward is the
accuracy, discounted by the costs of the network; its moving average is the baseline, and an entropy term keeps the
controller exploring. The sampler keeps no state: it replays the finished trials in order. The reward combines all
objectives in one number, so that the trials gather around one trade-off instead of spreading along the front.

Source:
    Zoph, Le, Neural Architecture Search with Reinforcement Learning, ICLR 2017, section 3.2.
    Williams, Simple Statistical Gradient-Following Algorithms for Connectionist Reinforcement Learning, 1992.
    Tan et al., MnasNet: Platform-Aware Neural Architecture Search for Mobile, CVPR 2019, equation 2.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.samplers import BaseSampler

from paredown.search.samplers.domain import KnobDomain
from paredown.search.samplers.history import History
from paredown.search.samplers.proposing import TRIES, ProposingSampler, fresh_draw
from paredown.search.samplers.sampler import Params, Problem

CONTROLLER_LEVELS = 16
"""Maximum number of values of a knob between which the controller chooses."""
EXPONENT = -0.07
"""Exponent of cost / target in the reward (MnasNet: twice the latency may buy 5 % of accuracy)."""
DECAY = 0.9
"""Decay of the moving average of rewards."""
ENTROPY = 0.05
"""Weight of the entropy beside rewards of standard deviation 1."""
ABSENT = -1e9
"""Logit of a level that a knob does not have."""
HEAT = 20.0
"""Number of known networks in a row that raise the temperature of the controller, at first 1, by 1."""


def learning_rate(trials: int) -> float:
    """Return the learning rate, which falls with the square root of the trials.

    Noise then moves a softmax by the same distance in a study of any length.
    """
    return 2.0 / float(np.sqrt(max(trials, 10)))


class ReinforceSampler(ProposingSampler):
    """A policy-gradient controller; it begins with all values equally likely."""

    def propose(self, domain: KnobDomain, history: History, rng: np.random.Generator) -> Params:
        """Return a draw of the controller; each known network that it draws raises the temperature."""
        levels = [domain.levels(name, CONTROLLER_LEVELS) for name in domain.names]
        rewards = trial_rewards(history, self._targets(history))
        logits = policy(levels, _actions(domain.names, levels, history), rewards, learning_rate(self._problem.trials))
        for attempt in range(TRIES):
            noisy = logits / (1 + attempt / HEAT) + rng.gumbel(size=logits.shape)
            chosen = noisy.argmax(axis=1)
            params = {name: levels[i][chosen[i]] for i, name in enumerate(domain.names)}
            if domain.key(params) not in history.seen:
                return params
        return fresh_draw(domain, history, rng)

    def _targets(self, history: History) -> dict[int, float]:
        """Return the target of each objective: its limit, or the value of the first finished trial, the baseline."""
        first = history.signs * history.losses[0] if len(history.losses) else []
        targets = {i: float(value) for i, value in enumerate(first)}
        if self._problem.costs is not None:
            for cost in self._problem.costs.columns:
                if cost.objective is not None and cost.limit is not None:
                    targets[cost.objective] = cost.limit
        return targets


def trial_rewards(history: History, targets: Mapping[int, float]) -> NDArray[np.float64]:
    """Return the reward of every finished trial, in order.

    The quality is the first maximised objective, or the first objective where none is. Every other objective is a cost:
    it multiplies the reward by `(value / target) ** EXPONENT`, inverted where it is maximised. An objective that is not
    positive throughout, and a quality that is minimised, is scaled by its range to 1 .. 2. A broken constraint divides
    the reward by `1 + violation` (MnasNet's exponent of -1 beyond a hard limit). A trial without values earns the
    lowest reward of all.

    Args:
        history: The study's trials.
        targets: Target of each objective by its index, in its own direction.
    """
    if not len(history.losses):
        return np.zeros(len(history.finished))
    is_maximised = history.signs < 0
    quality = int(np.argmax(is_maximised))
    earned = np.ones(len(history.losses))
    for i, column in enumerate(history.losses.T):
        values, target, exponent = history.signs[i] * column, targets[i], EXPONENT * history.signs[i]
        if i == quality:
            exponent, target = -history.signs[i] * 1.0, 1.0
        if min(values.min(), target) <= 0 or (i == quality and not is_maximised[i]):
            low, span = values.min(), max(float(np.ptp(values)), 1e-12)
            values = 1 + (values - low) / span
            target = 1.0 if i == quality else max(1 + (target - low) / span, 1e-3)
        earned *= (values / target) ** exponent
    earned /= 1 + np.array([sum(broken.values()) for broken in history.violations])
    worst = earned.min()
    return np.array([worst if row is None else earned[row] for _, row in history.finished])


def policy(
    levels: Sequence[Sequence[Any]], actions: NDArray[np.int64], rewards: NDArray[np.float64], rate: float
) -> NDArray[np.float64]:
    """Return the controller's logits after all trials, `knobs x levels`; `ABSENT` where a knob has fewer levels.

    Args:
        levels: Values of each knob.
        actions: Index of the value that each trial had, `n x knobs`; -1 where it had none of them.
        rewards: Reward of each trial, `n`.
        rate: Learning rate.
    """
    counts = np.array([len(values) for values in levels])
    index = np.arange(counts.max())
    logits = np.where(index < counts[:, None], 0.0, ABSENT)
    if not len(rewards):
        return logits
    taken = (actions[:, :, None] == index).astype(np.float64)
    known = (actions >= 0).astype(np.float64)[:, :, None]
    scale = float(rewards.std()) or 1.0
    average = float(rewards[0])
    for trial, reward in enumerate(rewards.tolist()):
        weights = np.exp(logits)
        total = weights.sum(axis=1, keepdims=True)
        chances, logs = weights / total, logits - np.log(total)
        entropy = -(chances * logs).sum(axis=1, keepdims=True)
        advantage = (reward - average) / scale
        average += (1 - DECAY) * (reward - average)
        gain = advantage * (taken[trial] - chances * known[trial]) - ENTROPY * chances * (logs + entropy)
        logits += rate * gain
    return logits


def _actions(names: Sequence[str], levels: Sequence[Sequence[Any]], history: History) -> NDArray[np.int64]:
    actions = np.empty((len(history.finished), len(names)), dtype=np.int64)
    for column, (name, values) in enumerate(zip(names, levels, strict=True)):
        indices = {value: i for i, value in enumerate(values)}
        held = [params.get(name) for params, _ in history.finished]
        for value in {*held} - indices.keys():
            indices[value] = _nearest(values, value)
        actions[:, column] = [indices[value] for value in held]
    return actions


def _nearest(values: Sequence[Any], value: Any) -> int:
    """Return the index of the level nearest to a number; -1 where the value or a level is no number."""
    if not all(isinstance(v, int | float) for v in (value, *values)):
        return -1
    return min(range(len(values)), key=lambda i: abs(values[i] - value))


def make_reinforce(problem: Problem) -> BaseSampler:
    """Return a policy-gradient controller with a learning rate for the problem's trials."""
    return ReinforceSampler(problem)
