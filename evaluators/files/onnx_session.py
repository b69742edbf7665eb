"""Opens models in ONNX Runtime; this is the only place that does, and it needs no PyTorch."""

from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from paredown.evaluators.errors import EvaluationError
from paredown.evaluators.files.external_data import whole_model
from paredown.evaluators.tasks.normalisation import Inputs

BATCH_SIZE = 64
"""Maximum number of images that run at once, so that memory does not grow with the data set."""


def _session_options(threads: int = 1) -> onnxruntime.SessionOptions:
    """Return the options of every session: threads that do not spin while they wait."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def open_session(
    model: Path | bytes, threads: int = 1, profile: Path | None = None, exact: bool = False
) -> onnxruntime.InferenceSession:
    """Return a session whose threads do not spin while they wait.

    Args:
        model: ONNX model, or the path of its file.
        threads: Number of threads that execute it, including the caller's; see `Device.threads`.
        profile: Where the names of profiles begin; None for no profile.
        exact: Whether sums of 8-bit products are never clipped, as they are by the faster kernels of x86 without VNNI:
            where integers are compared, or accuracy is that on another processor, and nothing is timed.

    Raises:
        EvaluationError: ONNX Runtime cannot load the model, or it names other files.
    """
    options = _session_options(threads)
    if profile is not None:
        options.enable_profiling, options.profile_file_prefix = True, str(profile)
    if exact:
        options.add_session_config_entry("session.x64quantprecision", "1")
    try:
        return onnxruntime.InferenceSession(whole_model(model), options, providers=["CPUExecutionProvider"])
    except EvaluationError:
        raise
    except Exception as error:  # its exception classes share no root but Exception
        raise EvaluationError(f"ONNX Runtime cannot load the model: {error}") from error


def logits(session: onnxruntime.InferenceSession, images: Inputs) -> NDArray[np.float32]:
    """Return logits `n x classes` for images `n x c x h x w`, in batches; one by one where the file takes one image."""
    entry = session.get_inputs()[0]
    batch = BATCH_SIZE if isinstance(entry.shape[0], str) else entry.shape[0]
    parts = [session.run(None, {entry.name: images[i : i + batch]})[0] for i in range(0, len(images), batch)]
    return np.concatenate(parts)
