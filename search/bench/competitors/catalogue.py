"""All outside tools."""

from paredown.search.bench.competitors.competitor import Competitor

COMPETITORS: dict[str, Competitor] = {}
