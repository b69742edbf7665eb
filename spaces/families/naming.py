"""Names that parameters of networks of inverted bottlenecks have in a supernet."""

from collections.abc import Iterable, Sequence

PARAMETERS = {
    "norm": ("weight", "bias"),
    "activation": (),
    "squeeze_excite": ("reduce.weight", "reduce.bias", "expand.weight", "expand.bias"),
}
"""Parameters of a layer by its role; other layers have a weight alone."""
STEM_LAYERS, HEAD_LAYERS = 3, 5
"""Layers before the blocks (convolution, normalisation, activation), and after them up to the linear one."""


def inverted_names(blocks: Sequence[int], expansions: Sequence[int], *, squeeze_excite: bool) -> dict[str, str]:
    """Return the shared name of each parameter of a stem, stages of inverted bottlenecks, a head and a classifier.

    They are named by stage, block and role: their indices depend on depth, expansion and squeeze-excite.

    Args:
        blocks: Of each stage.
        expansions: Of each stage; with 1 its blocks have no expanding convolution.
        squeeze_excite: Whether the blocks have it.
    """
    positions = [(stage, block) for stage, count in enumerate(blocks) for block in range(count)]
    after = STEM_LAYERS + len(positions)
    modules = {"0": "stem", "1": "stem.norm", f"{after}": "head", f"{after + 1}": "head.norm"}
    for index, (stage, block) in enumerate(positions, STEM_LAYERS):
        for position, role in enumerate(_roles(expansions[stage] > 1, squeeze_excite)):
            modules[f"{index}.body.{position}"] = f"stages.{stage}.{block}.{role}"
    linear = after + HEAD_LAYERS
    names = {f"{linear}.weight": "classifier.weight", f"{linear}.bias": "classifier.bias"}
    return names | parameter_names(modules.items())


def parameter_names(modules: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return the shared name of each parameter, from pairs of a layer's name and its shared one (ending in a role)."""
    return {
        f"{module}.{parameter}": f"{shared}.{parameter}"
        for module, shared in modules
        for parameter in PARAMETERS.get(shared.rpartition(".")[2], ("weight",))
    }


def _roles(expands: bool, squeeze_excite: bool) -> list[str]:
    """Return what each layer of a block is for."""
    expand = ["expand", "expand.norm", "activation"] if expands else []
    excite = ["squeeze_excite"] if squeeze_excite else []
    return [*expand, "depthwise", "depthwise.norm", "activation", *excite, "project", "project.norm"]
