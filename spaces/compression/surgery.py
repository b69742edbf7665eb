"""Looking into any network while it runs, and putting other layers in the place of its own."""

from contextlib import ExitStack
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from paredown.spaces.module_mode import evaluating


@dataclass
class Calls:
    """What a module was given and gave back while the network ran once, call by call.

    Attributes:
        name: Name of the module in the network; the first one where it has several.
        module: The module.
        inputs: Shape of the only tensor that each call was given; None where there was none or more than one.
        outputs: Shape of the tensor that each call gave back; None where it was no tensor.
    """

    name: str
    module: nn.Module
    inputs: list[tuple[int, ...] | None] = field(default_factory=list)
    outputs: list[tuple[int, ...] | None] = field(default_factory=list)

    @property
    def keeps_shape(self) -> bool:
        """Whether each call gave back one tensor of the shape of the one that it was given."""
        return bool(self.inputs) and None not in self.inputs and self.inputs == self.outputs


@torch.no_grad()
def calls_of(network: nn.Module, example: Tensor) -> list[Calls]:
    """Return what each module that runs is given and gives back, in the order of their first calls.

    Args:
        network: Any network; it runs once, in evaluation mode, and is left as it was.
        example: One input, `1 x c x h x w`.
    """
    calls = {module: Calls(name, module) for name, module in network.named_modules()}
    order: dict[nn.Module, None] = {}

    def before(module: nn.Module, inputs: tuple[object, ...], keywords: dict[str, object]) -> None:
        order.setdefault(module)
        given = [*inputs, *keywords.values()]
        calls[module].inputs.append(_shape(given[0]) if len(given) == 1 else None)

    def after(module: nn.Module, inputs: tuple[object, ...], output: object) -> None:
        calls[module].outputs.append(_shape(output))

    with ExitStack() as stack:
        for module in calls:
            stack.enter_context(module.register_forward_pre_hook(before, with_kwargs=True))
            stack.enter_context(module.register_forward_hook(after))
        with evaluating(network):
            network(example)
    return [calls[module] for module in order]


def _shape(value: object) -> tuple[int, ...] | None:
    return tuple(value.shape) if isinstance(value, Tensor) else None


def replace(network: nn.Module, old: nn.Module, new: nn.Module) -> None:
    """Put a module in the place of another one, everywhere where the network names it.

    Args:
        network: Is changed.
        old: Some module in it, perhaps shared, but not the network itself.
        new: Takes its place and its mode.
    """
    new.train(old.training)
    for parent in list(network.modules()):
        for child, module in parent._modules.items():
            if module is old:
                parent._modules[child] = new
