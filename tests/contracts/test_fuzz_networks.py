"""Random networks under random stacks of steps: refused before training, or right in every form and fully named."""

from fuzzed_networks import BLOCKS, STACKS, check
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

NETWORKS = 200


@settings(
    max_examples=NETWORKS, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)
@given(
    blocks=st.lists(st.sampled_from(sorted(BLOCKS)), min_size=1, max_size=4),
    steps=st.sets(st.sampled_from(sorted(STACKS)), min_size=1, max_size=3),
)
def test_a_random_network_is_refused_or_right_in_every_form(blocks: list[str], steps: set[str]) -> None:
    check(blocks, sorted(steps))
