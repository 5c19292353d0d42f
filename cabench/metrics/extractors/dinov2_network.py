"""DINOv2 as torch-fidelity feeds it, built by one commit of its repository.

torch-fidelity runs whatever code the repository's main branch has today, and unpickles its weights.
"""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch_fidelity.feature_extractor_base import FeatureExtractorBase
from torch_fidelity.feature_extractor_dinov2 import MODEL_METADATA, FeatureExtractorDinoV2

from cabench.errors import DataMissing

REPOSITORY = "facebookresearch/dinov2"
COMMIT = "e1277af2ba9496fbadf7aec6eba56e8d882d1e35"


class DinoNetwork(FeatureExtractorDinoV2):
    """torch-fidelity's resizing and normalisation in front of a given network."""

    def __init__(self, name: str, layers: list[str], model: nn.Module):
        FeatureExtractorBase.__init__(self, name, layers)
        self.feature_extractor_internal_dtype = torch.float32
        self.model = model
        self.requires_grad_(False)
        self.eval()


def dinov2(name: str, layers: list[str], weights: Mapping[str, Tensor]) -> DinoNetwork:
    """The network `name` of torch-fidelity with the given weights.

    Raises DataMissing without the repository at COMMIT, which torch hub downloads.
    """
    os.environ["XFORMERS_DISABLED"] = "1"  # as torch-fidelity does
    with contextlib.redirect_stdout(sys.stderr), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="xFormers is")
        try:
            model: nn.Module = torch.hub.load(  # pyright: ignore[reportAssignmentType]
                f"{REPOSITORY}:{COMMIT}",
                MODEL_METADATA[name],
                pretrained=False,  # which would unpickle the weights
                trust_repo=True,  # pyright: ignore[reportArgumentType]  # of this commit
                skip_validation=True,  # it knows branches and tags only
                verbose=False,
            )
        except OSError as error:
            folder = f"{torch.hub.get_dir()}/{REPOSITORY.replace('/', '_')}_{COMMIT}"
            raise DataMissing(
                f"feature extractor '{name}': expected its code in {folder}, download failed "
                f"({' '.join(str(error).split())[:80]}); copy "
                f"https://github.com/{REPOSITORY}/archive/{COMMIT}.zip there, unzipped"
            ) from None
    if missing := model.load_state_dict(weights, strict=False).missing_keys:
        raise ValueError(f"the weights lack {missing[0]}")
    return DinoNetwork(name, layers, model)
