"""Judges by name: networks whose features stand for pictures.

@JUDGES.register("my_judge")
class MyJudge:
    name = "my_judge"
    layers = {"fid": ..., "kid": ..., "prc": ..., "isc": ...}   # family -> layer; what it has
    widths = {layer: dimensions}
    def __init__(self, cache, threads=1): ...
    @classmethod
    def fingerprint_of(cls) -> str: ...        # hash of weights and all else that decides
    def features(self, images) -> dict: ...    # (N, C, H, W) uint8 -> {layer: (N, width)}
"""

from __future__ import annotations

from cabench.metrics.extractors.lite0 import Judge
from cabench.metrics.extractors.torch_fidelity import EXTRACTORS, Extractor
from cabench.registry import JUDGES

DEFAULT = "efficientnet-lite0"

JUDGES.register(DEFAULT)(Judge)
for _told in EXTRACTORS:
    JUDGES.register(_told["name"])(
        type("Extractor", (Extractor,), {**_told, "__doc__": f"torch-fidelity's {_told['name']}."})
    )


def judge_of(metric: type) -> str:
    """The judge that a metric of samples looks through."""
    return getattr(metric, "judge", DEFAULT)
