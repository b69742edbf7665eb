"""Make the weights that the present version stores, once: `python tests/upgrade_assets/make_weights.py NUMBER`.

They are never remade: `weights_0001` is of the last version whose layers were numbered.
"""

import json
import sys
from pathlib import Path

import torch
from networks import CANDIDATES, CLASSES, NAMED, SHAPE, answers, disturb
from safetensors.torch import save_file

from paredown.evaluators.build import DECIDED, apply_structural_steps, build
from paredown.spaces.candidate import Candidate
from paredown.spaces.families.catalogue import FAMILIES


def main(number: str) -> None:
    folder = Path(__file__).parent / f"weights_{number}"
    folder.mkdir()
    expected = {}
    for name, candidate in CANDIDATES.items():
        torch.manual_seed(0)
        compressed = apply_structural_steps(build(candidate, SHAPE, CLASSES), candidate, SHAPE)
        disturb(compressed.network)
        state = {key: tensor.contiguous() for key, tensor in compressed.network.state_dict().items()}
        save_file(state, folder / f"{name}.safetensors", {DECIDED: json.dumps(compressed.decided)})
        expected[name] = answers(compressed.network).double().round(decimals=6).tolist()
    (folder / "logits.json").write_text(json.dumps(expected))
    names = {name: _shared(candidate) for name, candidate in NAMED.items()}
    (folder / "names.json").write_text(json.dumps(names))


def _shared(candidate: Candidate) -> dict[str, str]:
    """Return the name of each parameter, with its name in a supernet where the family has any."""
    shared = FAMILIES[candidate.family].shared_names
    parameters = [name for name, _ in build(candidate, SHAPE, CLASSES).named_parameters()]
    return {name: shared(candidate.knobs, name) if shared else "" for name in parameters}


main(sys.argv[1])
