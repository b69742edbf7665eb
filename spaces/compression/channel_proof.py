"""Proof on the network itself that channels may go: where they are dead, the output without them is the same.

A dependency graph follows channels through a network by rules, and some networks break them: they shuffle channels,
select them by an index, split them into heads, or divide by their number. So before channels are removed they are
made dead in a copy of random weights (the layers that produce them give zero), and the copy is run before and after
their removal. Outputs that differ show that the graph removed others, or that the number of channels counts.

Random weights, since zeros among trained ones could hide a difference.
"""

import copy
import warnings
from collections.abc import Sequence

import torch
import torch_pruning
from torch import Tensor, nn

from paredown.spaces.compression.layers import NORMS, same

Removal = tuple[str, Sequence[int]]
"""Name of a layer, and those of its output channels that go with all that depends on them."""


class ChannelGraph:
    """A network and the graph of its channels; removing some changes the network."""

    def __init__(self, network: nn.Module, example: Tensor) -> None:
        """Trace the network, which is put into evaluation mode.

        Args:
            network: All its parameters must take gradients.
            example: One input, `1 x c x h x w`.
        """
        self.network = network
        with warnings.catch_warnings(), torch.enable_grad():
            # It warns of parameters outside of layers, whose dimension it guesses, and of parts of the network that it
            # does not follow: the proof finds what it got wrong.
            warnings.filterwarnings("ignore", "Unwrapped parameters|Maximum recursive depth", UserWarning)
            self.graph = torch_pruning.DependencyGraph().build_dependency(
                network, example_inputs=example, verbose=False
            )

    def group(self, name: str, channels: Sequence[int] | None = None) -> torch_pruning.Group:
        """Return all that goes with output channels of a layer; None: with every one of them."""
        layer = self.network.get_submodule(name)
        pruner = self.graph.get_pruner_of_module(layer)
        count = pruner.get_out_channels(layer)
        return self.graph.get_pruning_group(layer, pruner.prune_out_channels, list(channels or range(count)))

    def coupled(self, name: str) -> int:
        """Return the number of equal blocks of a layer's output channels of which each loses what the others lose.

        Raises:
            ValueError: Channels go together in another way.
        """
        layer = self.network.get_submodule(name)
        count = self.graph.get_pruner_of_module(layer).get_out_channels(layer)
        first = {
            i for dep, idxs in self.group(name, [0]) if dep.target.module is layer and self.makes(dep) for i in idxs
        }
        if sorted(first) != list(range(0, count, count // len(first))):
            raise ValueError(f"with channel 0 go channels {sorted(first)} of {count}")
        return len(first)

    def makes(self, dep: torch_pruning.Dependency) -> bool:
        """Return whether what depends on a group produces its channels, not reads them."""
        return bool(self.graph.is_out_channel_pruning_fn(dep.handler))


def unproven(network: nn.Module, example: Tensor, removals: Sequence[Removal]) -> dict[str, str]:
    """Return the layers whose channels may not go, with the reason.

    Args:
        network: Is not changed.
        example: One input, `1 x c x h x w`.
        removals: What shall be removed, all together.
    """
    if not removals or not _objection(network, example, removals):
        return {}
    reasons = {removal[0]: reason for removal in removals if (reason := _objection(network, example, [removal]))}
    accepted = [removal for removal in removals if removal[0] not in reasons]
    if not accepted or not _objection(network, example, accepted):
        return reasons
    together: list[Removal] = []
    for removal in accepted:  # each may go alone, but not all of them
        if reason := _objection(network, example, [*together, removal]):
            reasons[removal[0]] = reason
        else:
            together.append(removal)
    return reasons


@torch.no_grad()
def _objection(network: nn.Module, example: Tensor, removals: Sequence[Removal]) -> str:
    """Return why the channels may not go; nothing where they may."""
    probe = copy.deepcopy(network).requires_grad_(True).eval()
    dice = torch.Generator().manual_seed(0)
    image = torch.randn(example.shape, generator=dice).to(example)
    _randomise(probe, dice)
    if not _is_finite(probe(image)):
        probe.load_state_dict(network.state_dict())
    try:
        graph = ChannelGraph(probe, example)
        groups = [graph.group(*removal) for removal in removals]
        for group in groups:
            _make_dead(graph, group)
        expected = probe(image)
        for name, channels in removals:
            graph.group(name, channels).prune()
        if reason := _inconsistency(probe):
            return reason
        actual = probe(image)
    except Exception as error:  # whatever the graph cannot follow in a network of the user, or the network itself
        said = str(error).partition("\n")[0][:200]
        return f"its channels cannot be followed: {type(error).__name__}: {said}"
    if same(actual, expected):
        return ""
    if isinstance(actual, Tensor) and isinstance(expected, Tensor) and actual.shape == expected.shape:
        return "removing dead channels changes the output: they are moved, mixed or counted on the way"
    return f"the output would change from {_shape(expected)} to {_shape(actual)}"


def _randomise(network: nn.Module, dice: torch.Generator) -> None:
    """Give weights, statistics and scales values that hide nothing."""
    for parameter in network.parameters():
        values = torch.empty(parameter.shape)
        if parameter.ndim > 1:
            values.normal_(0, (2 * len(parameter) / max(1, parameter.numel())) ** 0.5, generator=dice)
        else:
            values.uniform_(0.25, 1, generator=dice)
        parameter.copy_(values)
    for module in network.modules():
        for name, low, high in (("running_mean", -0.2, 0.2), ("running_var", 0.5, 1.5)):
            if isinstance(statistic := getattr(module, name, None), Tensor):
                statistic.copy_(torch.empty(statistic.shape).uniform_(low, high, generator=dice))


def _make_dead(graph: ChannelGraph, group: torch_pruning.Group) -> None:
    """Let each layer that produces channels of a group give zero there."""
    for dep, channels in group:
        module = dep.target.module
        if not graph.makes(dep):
            continue
        if isinstance(module, nn.Parameter):
            index = torch.tensor(channels, device=module.device)
            module.index_fill_(dep.target.pruning_dim, index, 0)
            continue
        names = ("weight", "bias", "running_mean") if isinstance(module, NORMS) else ("weight", "bias")
        for name in names:
            if isinstance(tensor := getattr(module, name, None), Tensor):
                axis = 1 if name == "weight" and _has_outputs_second(module) else 0
                tensor.index_fill_(axis, torch.tensor(channels, device=tensor.device), 0)


def _has_outputs_second(module: nn.Module) -> bool:
    return bool(getattr(module, "transposed", False)) or isinstance(module, nn.Embedding)


def _inconsistency(network: nn.Module) -> str:
    """Return what would break in native code, where an error would end the process, not raise."""
    for name, module in network.named_modules():
        empty = [key for key, p in module.named_parameters(recurse=False) if not p.numel()]
        if empty:
            return f"nothing would be left of {name}.{empty[0]}"
        groups = getattr(module, "groups", 1) if isinstance(module, nn.modules.conv._ConvNd) else 1
        if isinstance(module, nn.modules.conv._ConvNd) and (
            groups < 1 or module.in_channels % groups or module.out_channels % groups
        ):
            return f"{module.in_channels} to {module.out_channels} channels of {name} do not divide by {groups} groups"
        if isinstance(module, nn.GroupNorm) and module.num_channels % module.num_groups:
            return f"{module.num_channels} channels of {name} do not divide by {module.num_groups} groups"
        if isinstance(module, nn.MultiheadAttention) and module.embed_dim % module.num_heads:
            return f"{module.embed_dim} channels of {name} do not divide by {module.num_heads} heads"
    return ""


def _is_finite(output: object) -> bool:
    return isinstance(output, Tensor) and bool(torch.isfinite(output).all())


def _shape(output: object) -> str:
    return str(tuple(output.shape)) if isinstance(output, Tensor) else type(output).__name__
