"""Early exits: classifiers behind inner stages, so that easy images need not go to the end.

They are trained with the network. The exported file skips the stages behind the exit that is taken.

Source:
    Teerapittayanon, McDanel, Kung, BranchyNet, ICPR 2016; Kaya, Hong, Dumitras, Shallow-Deep Networks, ICML 2019;
    Zhou et al., BERT Loses Patience, NeurIPS 2020; Zhang et al., Be Your Own Teacher, ICCV 2019.
"""

import copy
import itertools
from collections.abc import Sequence
from typing import cast

import torch
from torch import nn

from paredown.spaces.compression.step import Material, Step
from paredown.spaces.errors import InfeasibleCandidate
from paredown.spaces.exits.network import MultiExit, head
from paredown.spaces.exits.rules import RULES, ExitRule, Rule
from paredown.spaces.exits.stages import Place, cut, places
from paredown.spaces.knob import Choice, Knobs, Range

AGREEING = 2
"""Exits that the rule `patience` compares."""


def _attach(network: nn.Module, knobs: Knobs, material: Material) -> nn.Module:
    count, rule = int(knobs["exits"]), rule_of(knobs)
    if rule.kind == "patience" and count < AGREEING:
        raise InfeasibleCandidate(
            f"early_exit.rule: 'patience' with {count} exit never leaves early: it takes two that agree; "
            f"allowed: early_exit.exits from {AGREEING}, or another rule"
        )
    plain = copy.deepcopy(network)
    named = [name.strip() for name in str(knobs.get("after", "")).split(",") if name.strip()]
    found = places(plain, material.example, named)
    chosen = _spread(_possible(found, named), count)
    with torch.no_grad():
        classes = plain.eval()(material.example).shape[1]
    plain.train(network.training)
    heads = [head(place.shape, classes, str(knobs.get("head", "linear"))) for place in chosen]
    names = [place.name for place in chosen]
    whole = [module.get_submodule(name) for module in plain.modules() for name in getattr(module, "kept", ())]
    multi = MultiExit(cut(plain, names), heads, names, rule, float(knobs["weight"]), whole)
    return multi.to(material.example.device).train(network.training)


def rule_of(knobs: Knobs) -> ExitRule:
    """Return the exit rule that knobs describe."""
    return ExitRule(cast(Rule, knobs["rule"]), float(knobs.get("threshold", 0.0)))


def _possible(found: Sequence[Place], named: Sequence[str]) -> list[Place]:
    """Return the places that are named, or those between stages."""
    ends = [place for place in found if place.ends_stage]
    if not named:
        return ends
    by_name = {place.name: place for place in found}
    for name in named:
        if name not in by_name:
            raise InfeasibleCandidate(
                f"early_exit.after: no exit can stand after {name!r}; allowed: {', '.join(by_name) or 'none'}"
            )
    return [place for place in found if place.name in named]


def _spread(possible: Sequence[Place], count: int) -> list[Place]:
    """Return the places that divide the MACs most evenly."""
    if count > len(possible):
        allowed = ", ".join(place.name for place in possible) or "none"
        raise InfeasibleCandidate(
            f"early_exit: {count} exits are more than the {len(possible)} places between stages; allowed: {allowed}"
        )
    wanted = [(i + 1) / (count + 1) for i in range(count)]
    return list(
        min(
            itertools.combinations(possible, count),
            key=lambda some: sum((place.share - share) ** 2 for place, share in zip(some, wanted, strict=True)),
        )
    )


EARLY_EXIT = Step(
    name="early_exit",
    short="exits",
    knobs={
        "exits": Range(0, 2, 1),
        "after": Choice(("",), open=True),
        "head": Choice(("linear", "convolution")),
        "rule": Choice(RULES),
        "threshold": Range(0.5, 0.975, 0.025, only_if=("rule", ("confidence", "entropy"))),
        "weight": Range(0.25, 1.0, 0.25),
    },
    switch="exits",
    detail="threshold",
    off=0,
    attach=_attach,
    shapes_known=False,
    source="Teerapittayanon, McDanel, Kung, BranchyNet, ICPR 2016",
)
