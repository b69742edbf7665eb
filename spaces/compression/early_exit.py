"""Early exits: classifiers behind inner stages, so that easy images need not go to the end.

They are trained with the network. The exported file skips the stages behind the exit that is taken.

Source:
    Teerapittayanon, McDanel, Kung, BranchyNet, ICPR 2016; Kaya, Hong, Dumitras, Shallow-Deep Networks, ICML 2019;
    Zhou et al., BERT Loses Patience, NeurIPS 2020; Zhang et al., Be Your Own Teacher, ICCV 2019.
"""

import copy
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import cast

import torch
from torch import nn

from paredown.spaces.compression.step import Step, TransformContext
from paredown.spaces.earlier_names import present_name
from paredown.spaces.errors import InfeasibleCandidate
from paredown.spaces.exits.network import MultiExit, head
from paredown.spaces.exits.rules import RULES, ExitRule, Rule
from paredown.spaces.exits.stages import Place, cut, places
from paredown.spaces.knob import Choice, Knob, Knobs, Range

AGREEING = 2
"""Exits that the rule `patience` compares."""


def _attach(network: nn.Module, knobs: Knobs, material: TransformContext) -> nn.Module:
    count, rule = int(knobs["exits"]), rule_of(knobs)
    if rule.kind == "patience" and count < AGREEING:
        raise InfeasibleCandidate(
            f"early_exit.rule: 'patience' with {count} exit never leaves early: it takes two that agree; "
            f"allowed: early_exit.exits from {AGREEING}, or another rule"
        )
    plain = copy.deepcopy(network)
    named = [_present(plain, name.strip()) for name in str(knobs.get("after", "")).split(",") if name.strip()]
    found = places(plain, material.example, named)
    chosen = _spread(found, named, count)
    with torch.no_grad():
        classes = plain.eval()(material.example).shape[1]
    plain.train(network.training)
    heads = [head(place.shape, classes, str(knobs.get("head", "linear"))) for place in chosen]
    names = [place.name for place in chosen]
    whole = [module.get_submodule(name) for module in plain.modules() for name in getattr(module, "kept", ())]
    multi = MultiExit(cut(plain, names), heads, names, rule, float(knobs["weight"]), whole)
    return multi.to(material.example.device).train(network.training)


def _present(network: nn.Module, call: str) -> str:
    """Return the present name of a call of a layer, such as `relu#2`."""
    name, number, which = call.partition("#")
    return present_name(network, name) + number + which


def rule_of(knobs: Knobs) -> ExitRule:
    """Return the exit rule that knobs describe."""
    threshold, margin = float(knobs.get("threshold", 0.0)), float(knobs.get("first_margin", 0.0))
    first = min(1.0, round(threshold + margin, 6))
    return ExitRule(cast(Rule, knobs["rule"]), (first, threshold) if margin else (threshold,))


def _possible(found: Sequence[Place], named: Sequence[str]) -> list[Place]:
    """Return the places that are named, under these names, or those between stages."""
    if not named:
        return [place for place in found if place.ends_stage]
    allowed = _names(found)
    for name in named:
        if name not in allowed:
            raise InfeasibleCandidate(
                f"early_exit.after: no exit can stand after {name!r}; allowed: {', '.join(allowed) or 'none'}"
            )
    wanted = [(place, [name for name in named if name in _names([place])]) for place in found]
    return [replace(place, name=names[0]) for place, names in wanted if names]


def _names(places_: Sequence[Place]) -> list[str]:
    return [name for place in places_ for name in (place.name, *place.also)]


def _spread(found: Sequence[Place], named: Sequence[str], count: int) -> list[Place]:
    """Return those of the possible places that divide the MACs most evenly."""
    possible = _possible(found, named)
    if count > len(possible):
        of = "that early_exit.after names" if named else "between stages"
        places_ = "1 place" if len(possible) == 1 else f"{len(possible)} places"
        wrong = f"{count} exits are more than the {places_} {of}" if possible else f"no place {of} for an exit"
        raise InfeasibleCandidate(
            f"early_exit: {wrong}; allowed in early_exit.after: {', '.join(_names(found)) or 'none'}"
        )
    wanted = [(i + 1) / (count + 1) for i in range(count)]
    return list(
        min(
            itertools.combinations(possible, count),
            key=lambda some: sum((place.share - share) ** 2 for place, share in zip(some, wanted, strict=True)),
        )
    )


def _settle(knobs: Mapping[str, Knob], values: Knobs) -> Knobs:
    """With one exit `patience` becomes another rule; where the study has no other, one exit becomes two.

    With two, it needs no margin.
    """
    if values["rule"] != "patience":
        return values
    others = [rule for rule in RULES if rule != "patience" and rule in knobs["rule"]]
    if int(values["exits"]) < AGREEING and others:
        return {**values, "rule": others[0]}
    exits = AGREEING if AGREEING in knobs["exits"] else values["exits"]
    return {**values, "exits": exits, "first_margin": knobs["first_margin"].lowest}


EARLY_EXIT = Step(
    name="early_exit",
    short="exits",
    knobs={
        "exits": Range(0, 2, 1),
        "after": Choice(("",), open=True),
        "head": Choice(("linear", "convolution")),
        "rule": Choice(RULES),
        "threshold": Range(0.5, 0.975, 0.025, only_if=("rule", ("confidence", "entropy"))),
        "first_margin": Range(0.0, 0.4, 0.05, only_if=("exits", 2)),
        "weight": Range(0.25, 1.0, 0.25),
    },
    switch="exits",
    details=("threshold", "first_margin"),
    off=0,
    attach=_attach,
    settle=_settle,
    shapes_known=False,
    source="Teerapittayanon, McDanel, Kung, BranchyNet, ICPR 2016",
)
