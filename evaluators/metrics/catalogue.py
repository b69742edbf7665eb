"""All metrics, by name, and the evaluators of those that a trial measures."""

from paredown.evaluators.metrics import latency_again_ms, test_accuracy
from paredown.evaluators.metrics.accuracy import ACCURACY
from paredown.evaluators.metrics.bit_ops import BIT_OPS
from paredown.evaluators.metrics.cold_start_ms import COLD_START_MS
from paredown.evaluators.metrics.device_energy_uj import DEVICE_ENERGY_UJ
from paredown.evaluators.metrics.device_latency_ms import DEVICE_LATENCY_MS
from paredown.evaluators.metrics.evaluation_input import Evaluator
from paredown.evaluators.metrics.exit_rate import EXIT_RATE
from paredown.evaluators.metrics.flash_bytes import FLASH_BYTES
from paredown.evaluators.metrics.latency_ms import LATENCY_MS
from paredown.evaluators.metrics.macs import MACS
from paredown.evaluators.metrics.measurement import Metric
from paredown.evaluators.metrics.npu_cycles import NPU_CYCLES
from paredown.evaluators.metrics.npu_sram_bytes import NPU_SRAM_BYTES
from paredown.evaluators.metrics.onnx_bytes import ONNX_BYTES
from paredown.evaluators.metrics.params import PARAMS
from paredown.evaluators.metrics.peak_activation_bytes import PEAK_ACTIVATION_BYTES
from paredown.evaluators.metrics.ram_bytes import RAM_BYTES
from paredown.evaluators.metrics.size_bytes import SIZE_BYTES
from paredown.evaluators.metrics.throughput_ips import THROUGHPUT_IPS

EVALUATORS: dict[str, Evaluator] = {
    evaluator.metric.name: evaluator
    for evaluator in (
        *(ACCURACY, LATENCY_MS, SIZE_BYTES, ONNX_BYTES, MACS, PARAMS, EXIT_RATE),
        *(RAM_BYTES, FLASH_BYTES, NPU_CYCLES, NPU_SRAM_BYTES, DEVICE_LATENCY_MS, DEVICE_ENERGY_UJ),
        *(THROUGHPUT_IPS, COLD_START_MS, PEAK_ACTIVATION_BYTES, BIT_OPS),
    )
}
MEASURED_AFTERWARDS: dict[str, Metric] = {
    metric.name: metric for metric in (test_accuracy.METRIC, latency_again_ms.METRIC)
}


def known_metrics() -> dict[str, Metric]:
    """Return every metric by its name: those of the evaluators, then those that are measured after a trial."""
    return {name: evaluator.metric for name, evaluator in EVALUATORS.items()} | MEASURED_AFTERWARDS
