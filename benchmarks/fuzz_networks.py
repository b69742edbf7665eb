"""Random networks under random stacks of steps, for as long as wanted: what fails is printed with how to repeat it.

    python benchmarks/fuzz_networks.py --minutes 30

What must hold is in tests/fuzzed_networks.py.
"""

import argparse
import random
import sys
import time
import traceback
import warnings
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from fuzzed_networks import BLOCKS, STACKS, check


def main() -> int:
    """Check random networks until the time is over; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0, help="number of the first network")
    given = parser.parse_args()
    warnings.filterwarnings("ignore")
    outcomes: Counter[str] = Counter()
    end, seed = time.monotonic() + 60 * given.minutes, given.seed
    while time.monotonic() < end:
        dice = random.Random(seed)
        blocks = dice.choices(sorted(BLOCKS), k=dice.randint(1, 6))
        steps = sorted(dice.sample(sorted(STACKS), k=dice.randint(1, 4)))
        try:
            outcomes[check(blocks, steps, seed)] += 1
        except Exception:
            outcomes["failed"] += 1
            print(f"check({blocks}, {steps}, {seed})\n{traceback.format_exc()}")
        seed += 1
    print(f"{seed - given.seed} networks, seeds {given.seed} to {seed - 1}: {dict(outcomes)}")
    return 1 if outcomes["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
