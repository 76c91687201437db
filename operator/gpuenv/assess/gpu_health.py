"""The health of a GPU: what NVML reads of it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Health:
    """NVML's readings of one GPU. None means that NVML does not offer the reading for the GPU, or was not asked.

    ``error`` is the error with which NVML could not open the GPU. ``ecc_corrected`` and ``ecc_uncorrected`` count
    memory errors since the driver was loaded; ``ecc_uncorrected_total`` counts them over the life of the GPU.
    ``virtualization_mode`` is 0 for a GPU on bare metal, 1 for one that is passed through to a virtual machine, and 2 for
    a virtual GPU; ``vgpu_licensed`` says whether a virtual GPU has its licence. Readings
    that begin with ``busy`` were taken while benchmarks ran. Throttle reasons are NVML's bit masks
    (``nvmlClocksEventReasons``).
    https://docs.nvidia.com/deploy/nvml-api/
    """

    error: str | None = None
    pci_id: str | None = None
    recovery_action: int | None = None
    ecc_mode: bool | None = None
    ecc_corrected: int | None = None
    ecc_uncorrected: int | None = None
    ecc_uncorrected_total: int | None = None
    remap_correctable: int | None = None
    remap_uncorrectable: int | None = None
    remap_pending: bool | None = None
    remap_failed: bool | None = None
    retired_pages_pending: bool | None = None
    fabric_state: int | None = None
    fabric_status: int | None = None
    fabric_health_mask: int | None = None
    throttle_reasons: int | None = None
    sm_clock_mhz: int | None = None
    sm_clock_max_mhz: int | None = None
    memory_clock_mhz: int | None = None
    memory_clock_max_mhz: int | None = None
    temperature_c: int | None = None
    power_w: float | None = None
    power_limit_w: float | None = None
    power_default_w: float | None = None
    pcie_gen: int | None = None
    pcie_gen_max: int | None = None
    pcie_width: int | None = None
    pcie_width_max: int | None = None
    pcie_replays: int | None = None
    utilisation_percent: int | None = None
    compute_mode: int | None = None
    persistence: bool | None = None
    processes: int | None = None
    virtualization_mode: int | None = None
    vgpu_licensed: bool | None = None
    busy_throttle_reasons: int | None = None
    busy_sm_clock_mhz: int | None = None
    busy_power_w: float | None = None
    busy_temperature_c: int | None = None
    busy_pcie_gen: int | None = None
    busy_pcie_width: int | None = None


NO_HEALTH = Health()
"""The health of a GPU of which no reading is known."""
