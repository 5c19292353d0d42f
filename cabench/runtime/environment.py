"""The machine and the library versions behind a record or a timing."""

from __future__ import annotations

import contextlib
import platform
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = ("cabench", "torch", "numpy", "diffusers", "torch-fidelity", "onnxruntime", "fvcore")


def environment(device: str) -> dict[str, Any]:
    """Python, system, processor, device, torch threads and package versions."""
    import torch

    return {
        "python": platform.python_version(),
        "system": platform.system(),
        # vector instructions decide the order of sums, so the bits
        "processor": f"{processor()}, {torch.backends.cpu.get_cpu_capability()}",
        "device": device_name(device),
        "threads": torch.get_num_threads(),
        "packages": versions(),
    }


def versions() -> dict[str, str]:
    """Versions of those of PACKAGES that are installed."""
    packages = {}
    for name in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            packages[name] = metadata.version(name)
    return packages


def device_name(device: str) -> str:
    """The device, with the model of a GPU: "cpu", "cuda (NVIDIA H100 80GB HBM3)"."""
    import torch

    return f"{device} ({torch.cuda.get_device_name(device)})" if device[:4] == "cuda" else device


def processor() -> str:
    """The CPU's model name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def peak_memory_mb() -> int:
    """Peak resident memory of this process so far, in MiB; 0 where the system does not say."""
    try:
        import resource  # not on Windows
    except ImportError:
        return 0
    unit = 1 if sys.platform == "darwin" else 1024  # bytes on macOS, KiB on Linux
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit // 2**20
