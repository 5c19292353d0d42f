"""Feature extractors by name: frozen networks whose features metrics compare.

@EXTRACTORS.register("my_extractor")
class MyExtractor:
    name = "my_extractor"
    layers = {"fid": ..., "kid": ..., "prc": ..., "isc": ...}   # family -> layer; what it has
    widths = {layer: dimensions}
    def __init__(self, cache, threads=1): ...
    @classmethod
    def fingerprint_of(cls) -> str: ...        # hash of weights and all else that decides
    def features(self, images) -> dict: ...    # (N, C, H, W) uint8 -> {layer: (N, width)}
"""

from __future__ import annotations

from cabench.metrics.extractors.lite0 import Lite0
from cabench.metrics.extractors.torch_fidelity import TORCH_FIDELITY, Extractor
from cabench.registry import EXTRACTORS

DEFAULT = "efficientnet-lite0"

EXTRACTORS.register(DEFAULT)(Lite0)
for _told in TORCH_FIDELITY:
    EXTRACTORS.register(_told["name"])(
        type("Extractor", (Extractor,), {**_told, "__doc__": f"torch-fidelity's {_told['name']}."})
    )


def extractor_of(metric: type) -> str:
    """The name of the feature extractor that a metric of samples uses.

    `judge` is the attribute's former name, which plugins may still have.
    """
    return getattr(metric, "extractor", None) or getattr(metric, "judge", DEFAULT)
