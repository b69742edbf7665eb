"""All samplers."""

from paredown.search.samplers.cost_aware import CostAwareSampler
from paredown.search.samplers.evolution import make_evolution
from paredown.search.samplers.gp import make_gp
from paredown.search.samplers.local_search import make_local_search
from paredown.search.samplers.nsga2 import make_nsga2
from paredown.search.samplers.nsga3 import make_nsga3
from paredown.search.samplers.qmc import make_qmc
from paredown.search.samplers.random import make_random
from paredown.search.samplers.reinforce import make_reinforce
from paredown.search.samplers.sampler import MakeSampler
from paredown.search.samplers.tpe import make_tpe

SAMPLERS: dict[str, MakeSampler] = {
    "cost_aware": CostAwareSampler,
    "tpe": make_tpe,
    "nsga2": make_nsga2,
    "nsga3": make_nsga3,
    "gp": make_gp,
    "evolution": make_evolution,
    "reinforce": make_reinforce,
    "local_search": make_local_search,
    "qmc": make_qmc,
    "random": make_random,
}
