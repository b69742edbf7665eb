"""All outside tools."""

from paredown.search.bench.competitors.botorch_qlognehvi import make_botorch_qlognehvi
from paredown.search.bench.competitors.competitor import Competitor
from paredown.search.bench.competitors.pymoo_nsga2 import make_pymoo_nsga2
from paredown.search.bench.competitors.syne_tune_morea import make_syne_tune_morea

COMPETITORS: dict[str, Competitor] = {
    "pymoo_nsga2": Competitor(make_pymoo_nsga2, ("pymoo",)),
    "botorch_qlognehvi": Competitor(make_botorch_qlognehvi, ("botorch", "gpytorch")),
    "syne_tune_morea": Competitor(make_syne_tune_morea, ("syne_tune",)),
}
