"""Does a file for a microcontroller compute what the trial's ONNX file computes, and what does it need?

For a network of each family, trained on the digits and quantised to int8: TensorFlow Lite Micro against LiteRT's
reference kernels and against ONNX Runtime on test images, in steps of the output's int8 grid; arena, file, and the
cycles that Vela predicts for Ethos-U55-128; the same of the untrained network. Last, the reference network of MLPerf
Tiny's image classification with random weights, whose arena and cycles are published.

Run: python benchmarks/exports.py [FAMILY ...] (about 6 minutes on two cores), needs the extra mcu.
"""

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from paredown.evaluators.build import apply_structural_steps, build, input_shape
from paredown.evaluators.device import this_device
from paredown.evaluators.files.model_writer import ModelWriter
from paredown.evaluators.files.names import MODEL_FILE
from paredown.evaluators.litert.comparison import compare
from paredown.evaluators.litert.conversion import tflite_model
from paredown.evaluators.litert.integer_graph import NoIntegerFile
from paredown.evaluators.litert.runtimes import arena
from paredown.evaluators.litert.vela import run_vela
from paredown.evaluators.tasks.digits import DIGITS
from paredown.evaluators.tasks.spec import TaskSpec, load_task
from paredown.evaluators.tasks.task import Task, normalisation_at
from paredown.evaluators.training.data import TrainingData
from paredown.evaluators.training.fit import TrainingPlan, fit
from paredown.spaces.candidate import Candidate
from paredown.spaces.compression.quantization import QUANTIZATION
from paredown.spaces.compression.step import RewriteContext
from paredown.spaces.families.family import longer_side
from paredown.spaces.knob import Knobs
