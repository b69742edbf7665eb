"""Orthonormal transforms of weights, filter by filter; no PyTorch, so that a packed file is read without it.

A filter is what makes one output channel. Each transform takes it to as many real coefficients and back, keeps
its energy (Parseval), and commutes with a factor on the filter, hence with the folding of batch normalisation.

Source:
    Ahmed, Natarajan, Rao, Discrete Cosine Transform, IEEE Trans. Computers 1974 (DCT-II);
    Mallat, A Theory for Multiresolution Signal Decomposition, IEEE PAMI 1989 (wavelets; periodised).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import pywt
from numpy.typing import NDArray

from paredown.spaces.errors import SpaceError

Array = NDArray[np.float64]

WAVELETS = ("haar", "db2", "db4", "sym4", "coif1")
FRAMES = (4, 8, 16, 32)
"""Weights in a frame of the short-time transform."""
DOMAIN_NOTE = "paredown.domain="
"""A tensor's `doc_string` in ONNX that begins so says where it is sparse: `paredown.domain=dct/flat/0`."""
LEVELS = 3
"""The wavelet transform halves a signal at most so often."""
NOISE = 2.0
"""Units in the last place of a filter's norm up to which a coefficient is rounding noise."""


def _dct(signals: Array, back: bool) -> Array:
    import scipy.fft  # late, as below: few networks need it, and it takes a third of a second to load

    done = scipy.fft.idct if back else scipy.fft.dct
    return np.asarray(done(signals, norm="ortho"))


def _dft(signals: Array, back: bool) -> Array:
    """Real Fourier transform as `n` reals: constant, cosine and sine of each frequency, and the alternating one."""
    import scipy.fft

    n = signals.shape[-1]
    pairs = (n - 1) // 2
    cosines, sines = slice(1, 2 * pairs + 1, 2), slice(2, 2 * pairs + 1, 2)
    if back:
        spectrum = np.zeros((*signals.shape[:-1], n // 2 + 1), dtype=np.complex128)
        spectrum[..., 0] = signals[..., 0]
        spectrum[..., 1 : pairs + 1] = (signals[..., cosines] + 1j * signals[..., sines]) / np.sqrt(2)
        if n % 2 == 0:
            spectrum[..., -1] = signals[..., -1]
        return np.asarray(scipy.fft.irfft(spectrum, n, norm="ortho"))
    spectrum = np.asarray(scipy.fft.rfft(signals, norm="ortho"))
    coefficients = np.empty_like(signals)
    coefficients[..., 0] = spectrum[..., 0].real
    coefficients[..., cosines] = spectrum[..., 1 : pairs + 1].real * np.sqrt(2)
    coefficients[..., sines] = spectrum[..., 1 : pairs + 1].imag * np.sqrt(2)
    if n % 2 == 0:
        coefficients[..., -1] = spectrum[..., -1].real
    return coefficients


def _stft(signals: Array, back: bool, frame: int) -> Array:
    """Fourier transforms of frames that do not overlap, the last one shorter.

    Frames that overlap would give more coefficients than there are weights.
    """
    done = np.empty_like(signals)
    whole = signals.shape[-1] // frame * frame
    if whole:
        frames = signals[..., :whole].reshape(*signals.shape[:-1], -1, frame)
        done[..., :whole] = _dft(frames, back).reshape(*signals.shape[:-1], whole)
    if whole < signals.shape[-1]:
        done[..., whole:] = _dft(signals[..., whole:], back)
    return done


def _wavelet(signals: Array, back: bool, name: str) -> Array:
    """Periodised wavelet transform of the longest part that can be halved; the few weights after it stay."""
    n = signals.shape[-1]
    levels = min(LEVELS, n.bit_length() - 1)
    whole = n >> levels << levels
    done = np.array(signals)
    for level in reversed(range(levels)) if back else range(levels):
        part = done[..., : whole >> level]
        if back:
            low, high = np.split(part, 2, axis=-1)
            part[...] = pywt.idwt(low, high, name, "periodization", axis=-1)
        else:
            part[...] = np.concatenate(pywt.dwt(part, name, "periodization", axis=-1), axis=-1)
    return done


_Transform = Callable[[Array, bool], Array]
TRANSFORMS: dict[str, _Transform] = {
    "dct": _dct,
    "dft": _dft,
    **{f"stft{frame}": partial(_stft, frame=frame) for frame in FRAMES},
    **{name: partial(_wavelet, name=name) for name in WAVELETS},
}
"""Transforms of the last axis, forth and back, by name."""


@dataclass(frozen=True)
class Domain:
    """Where the weights of a layer are sparse.

    Attributes:
        transform: Name in `TRANSFORMS`.
        axes: Axes of the weights that are transformed one after the other, output channels being axis 0;
            none: the filter is one signal.
        channel: Axis of the output channels in the stored tensor.
    """

    transform: str
    axes: tuple[int, ...] = ()
    channel: int = 0

    def __str__(self) -> str:
        return f"{self.transform}/{''.join(map(str, self.axes)) or 'flat'}/{self.channel}"

    @classmethod
    def parse(cls, text: str) -> "Domain":
        """Return what `str` gave.

        Raises:
            SpaceError: It is no domain.
        """
        transform, *rest = text.split("/")
        if transform not in TRANSFORMS:
            raise SpaceError(f"{transform!r} is no transform; allowed: {', '.join(TRANSFORMS)}")
        if len(rest) != 2 or not (rest[0] == "flat" or rest[0].isdecimal()) or rest[1] not in ("0", "1"):
            raise SpaceError(f"{text!r} is no domain; it is written as dct/flat/0 or haar/123/0")
        return cls(transform, () if rest[0] == "flat" else tuple(map(int, rest[0])), int(rest[1]))

    def suits(self, shape: tuple[int, ...]) -> bool:
        """Return whether weights of this shape have the axes."""
        return len(shape) >= 2 and self.channel < len(shape) and all(0 < axis < len(shape) for axis in self.axes)

    def analyse(self, weights: NDArray[np.floating]) -> Array:
        """Return the coefficients, `channels x n`."""
        moved = np.moveaxis(np.asarray(weights, dtype=np.float64), self.channel, 0)
        return self._applied(moved, back=False).reshape(len(moved), -1)

    def synthesise(self, coefficients: NDArray[np.floating], shape: tuple[int, ...]) -> Array:
        """Return the weights of a shape from `channels x n`."""
        rest = [size for axis, size in enumerate(shape) if axis != self.channel]
        moved = np.asarray(coefficients, dtype=np.float64).reshape(shape[self.channel], *rest)
        return np.ascontiguousarray(np.moveaxis(self._applied(moved, back=True), 0, self.channel))

    def _applied(self, moved: Array, *, back: bool) -> Array:
        transform = TRANSFORMS[self.transform]
        if not self.axes:
            return transform(moved.reshape(len(moved), -1), back).reshape(moved.shape)
        for axis in self.axes:  # along different axes they commute
            moved = np.moveaxis(transform(np.ascontiguousarray(np.moveaxis(moved, axis, -1)), back), -1, axis)
        return moved


def without_noise(coefficients: Array, precision: np.dtype[np.floating]) -> Array:
    """Return the coefficients with those set to zero that come of rounding the weights.

    Rounding changes a filter by half a unit in the last place of its norm at most, and as the transform is
    orthonormal no coefficient by more.

    Args:
        coefficients: `channels x n`.
        precision: Type of the stored weights.
    """
    norms = np.linalg.norm(coefficients, axis=1, keepdims=True)
    return np.where(np.abs(coefficients) > NOISE * np.finfo(precision).eps * norms, coefficients, 0.0)
