"""All samplers."""

from paredown.search.samplers.cost_aware import CostAwareSampler
from paredown.search.samplers.nsga2 import make_nsga2
from paredown.search.samplers.random import make_random
from paredown.search.samplers.sampler import MakeSampler
from paredown.search.samplers.tpe import make_tpe

SAMPLERS: dict[str, MakeSampler] = {
    "cost_aware": CostAwareSampler,
    "tpe": make_tpe,
    "nsga2": make_nsga2,
    "random": make_random,
}
