"""Multiply-accumulates of one forward pass, operator by operator.

Fused kernels (recurrent layers, attention) hide their products, so they are switched off while it is counted: what
then runs are matrix products. Operators that multiply and have no formula are named, not counted as nothing.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

aten = torch.ops.aten
Formula = Callable[..., int]
"""(arguments as of the operator, `out_val`) -> multiply-accumulates."""
_FREE = """
    _adaptive_avg_pool2d _adaptive_avg_pool3d _assert_async _conj _embedding_bag_forward_only _fused_rms_norm
    _linalg_check_errors _local_scalar_dense _log_softmax _native_batch_norm_legit
    _native_batch_norm_legit_no_training _neg_view _prelu_kernel _reshape_alias _safe_softmax _softmax
    _thnn_fused_gru_cell _thnn_fused_lstm_cell _to_copy _unique2 _unsafe_index _unsafe_view
    _upsample_bicubic2d_aa _upsample_bilinear2d_aa _upsample_nearest_exact2d _weight_norm_interface abs_sum
    adaptive_avg_pool1d adaptive_max_pool2d adaptive_max_pool3d affine_grid_generator alias all amax amin
    aminmax any arange arange_out argmax argmin argsort as_strided as_strided_ avg_pool1d avg_pool2d avg_pool3d
    batch_norm bernoulli bernoulli_ bincount bucketize cat channel_shuffle clone col2im complex constant_pad_nd
    contiguous copy copy_ count_nonzero cudnn_batch_norm cummax cummin cumprod cumsum detach detach_ detach_copy
    diag_embed diagonal_copy diff embedding empty empty_like empty_permuted empty_strided equal expand_copy eye
    fake_quantize_per_channel_affine_cachemask fake_quantize_per_tensor_affine_cachemask fill fill_ flip
    fractional_max_pool2d fractional_max_pool3d full full_like gather glu grid_sampler_2d grid_sampler_3d
    hardswish hardswish_ histc im2col index index_add index_add_ index_copy index_copy_ index_fill index_fill_
    index_put index_put_ index_select is_same_size isin item kthvalue lift lift_fresh lift_fresh_copy
    linalg_vector_norm linspace log_sigmoid_forward logcumsumexp logsumexp masked_fill masked_fill_
    masked_scatter masked_scatter_ masked_select max max_pool2d_with_indices max_pool3d_with_indices
    max_unpool2d mean median min mode multinomial nansum native_batch_norm native_dropout native_group_norm
    native_layer_norm new_empty new_empty_strided new_full new_ones new_zeros nonzero norm normal_ one_hot ones
    ones_like pixel_shuffle pixel_unshuffle polar prod rand rand_like randint randn randn_like randperm
    reflection_pad1d reflection_pad2d reflection_pad3d repeat repeat_interleave replication_pad1d
    replication_pad2d replication_pad3d resize_ resize_as_ resolve_conj rms_norm roll rot90 rrelu_with_noise
    rrelu_with_noise_ scalar_tensor scatter scatter_ scatter_add scatter_add_ scatter_reduce searchsorted
    select_copy select_scatter set_ slice_copy slice_scatter sort split_copy squeeze_ stack std std_mean sum
    swapaxes_ swapdims_ sym_numel sym_size sym_storage_offset sym_stride t_ take topk transpose_ tril
    tril_indices triu triu_indices unbind_copy unfold_copy uniform_ unique unique_consecutive unique_dim
    unsafe_chunk unsafe_split unsafe_split_with_sizes unsqueeze_ upsample_bicubic2d upsample_bilinear2d
    upsample_linear1d upsample_nearest1d upsample_nearest2d upsample_nearest3d upsample_trilinear3d var var_mean
    view_as_complex_copy where zero_ zeros zeros_like
"""
FREE = frozenset(_FREE.split())
"""Operators without products of two inputs: they move, compare, reduce, normalise, pool or interpolate."""


def _matrix_by_vector(matrix: Any, *rest: Any, out_val: Any = None, **named: Any) -> int:
    return int(prod(matrix))


def _vectors(one: Any, other: Any, *rest: Any, out_val: Any = None, **named: Any) -> int:
    return int(prod(one))


def _added(total: Any, matrix: Any, *rest: Any, out_val: Any = None, **named: Any) -> int:
    return int(prod(matrix))


def _batches_summed(total: Any, one: Any, other: Any, *rest: Any, out_val: Any = None, **named: Any) -> int:
    return int(prod(one) * other[-1])


def _bilinear(one: Any, weight: Any, other: Any, *rest: Any, out_val: Any = None, **named: Any) -> int:
    return int(prod(weight) * one[0])


def _distances(one: Any, other: Any, *rest: Any, out_val: Any = None, **named: Any) -> int:
    return int(prod(one) * other[-2])


FORMULAS: Mapping[Any, Formula] = {
    aten.mv: _matrix_by_vector,
    aten.dot: _vectors,
    aten.vdot: _vectors,
    aten.addmv: _added,
    aten.addbmm: _batches_summed,
    aten._cdist_forward: _distances,
    aten._trilinear: _bilinear,
}
"""Of operators that PyTorch's own counter has none for."""


@dataclass(frozen=True)
class Count:
    """What one forward pass takes.

    Attributes:
        macs: Multiply-accumulates of all operators with a formula.
        unknown: Names of the operators that have none, so that `macs` is a lower bound; sorted.
        output: What the network gave back.
    """

    macs: int
    unknown: tuple[str, ...]
    output: Any


def counted(network: Callable[..., Any], *inputs: Tensor) -> Count:
    """Return the multiply-accumulates of a module, or of anything that calls PyTorch, as it stands."""
    with torch.no_grad(), plain_operators(), _Counter() as counter:
        output = network(*inputs)
    return Count(counter.macs, tuple(sorted(counter.unknown)), output)


@contextlib.contextmanager
def plain_operators() -> Iterator[None]:
    """Have recurrent layers and attention computed by matrix products instead of fused kernels."""
    fast, onednn = torch.backends.mha.get_fastpath_enabled(), torch._C._get_mkldnn_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    torch._C._set_mkldnn_enabled(False)  # `torch.backends.mkldnn.flags` warns of what other processors have
    try:
        with sdpa_kernel(SDPBackend.MATH), torch.backends.cudnn.flags(enabled=False):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        torch._C._set_mkldnn_enabled(onednn)


class _Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]  # its own hook has no types
    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        # Otherwise PyTorch loads its compiler, which takes a second, to keep it away from the method below.
        return False

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.macs = 0
        self.unknown: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, packet = kwargs or {}, func._overloadpacket
        ours, theirs = FORMULAS.get(packet), flop_registry.get(packet)
        if ours is None and theirs is None and func.namespace == "aten":
            with self:
                made = func.decompose(*args, **kwargs)
            if made is not NotImplemented:
                return made
        out = func(*args, **kwargs)
        if ours is not None:
            shapes = [tuple(a.shape) if isinstance(a, Tensor) else a for a in args]
            self.macs += ours(*shapes, out_val=out, **kwargs)
        elif theirs is not None:
            self.macs += theirs(*args, **kwargs, out_val=out) // 2  # a multiply and its add are two there
        elif not _is_free(func):
            name = packet._qualified_op_name.replace("::", ".")
            self.unknown.add(name.removeprefix("aten."))
        return out


def _is_free(func: Any) -> bool:
    if func.namespace not in ("aten", "prims", "prim"):
        return False
    name = func._schema.name.partition("::")[2]
    return func.is_view or torch.Tag.pointwise in func.tags or name in FREE or name.rstrip("_") in FREE
