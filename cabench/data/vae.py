"""A VAE that makes latents of pictures and pictures of latents: diffusers' AutoencoderKL."""

from __future__ import annotations

import hashlib
import logging
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cabench.errors import CabenchError, DataMissing, cut, one_line
from cabench.runtime.images import to_float, to_uint8

TOGETHER = 16  # pictures decoded at once


class VAE:
    """Frozen, in float32. A latent is (mean + deviation * noise - shift) * scale."""

    def __init__(
        self,
        path: str,  # a folder as diffusers saves it, or a name on its hub
        device: str = "cpu",
        sha256: str | None = None,  # what its weights must have
        scale: float | None = None,  # instead of its own (Stable Diffusion: .18215)
        shift: float | None = None,
    ):
        self.path, self.device = path, device
        self.network = load_autoencoder(path)
        self.sha256 = weights_hash(self.network)
        if sha256 not in (None, self.sha256):
            raise DataMissing(
                f"VAE {path}: its weights have the hash {self.sha256[:12]}, the latents were made "
                f"with {sha256[:12]}; name the right one (`vae: DIR` in the options of `latents`)"
            )
        config = self.network.config
        self.scale = float(config.scaling_factor if scale is None else scale)
        self.shift = float((config.shift_factor or 0.0) if shift is None else shift)
        self.channels: int = config.latent_channels
        self.factor = 2 ** (len(config.block_out_channels) - 1)  # pixels a side of a latent's cell
        self.network.to(device)

    @property
    def facts(self) -> dict[str, Any]:
        return {"sha256": self.sha256, "scale": self.scale, "shift": self.shift}

    @torch.no_grad()
    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """uint8 (B, 3, H, W) -> the posterior's mean and standard deviation, (B, C, h, w) each."""
        posterior = self.network.encode(to_float(images.to(self.device))).latent_dist
        return posterior.mean.cpu(), posterior.std.cpu()

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """(B, C, h, w) as they are sampled -> pictures (B, 3, H, W) uint8."""
        made = []
        for part in latents.to(self.device).split(TOGETHER):
            made.append(to_uint8(self.network.decode(part / self.scale + self.shift).sample).cpu())
        return torch.cat(made)


def load_autoencoder(path: str) -> Any:
    """The network in `path`, or in its folder `vae`, or of that name on the hub."""
    from diffusers import AutoencoderKL

    folder = Path(path)
    if folder.exists():
        places = [p for p in (folder, folder / "vae") if (p / "config.json").is_file()]
        if not places:
            raise DataMissing(
                f"VAE: looked for config.json in {folder} and {folder / 'vae'}, found none; name a "
                "folder that AutoencoderKL.save_pretrained made"
            )
        path = str(places[0])
    elif not re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", path):
        raise DataMissing(f"VAE: no folder {path}, and no OWNER/NAME of diffusers' hub")
    hub = logging.getLogger("huggingface_hub")
    loud = hub.level
    try:
        hub.setLevel(logging.CRITICAL)  # it tells each attempt to reach the hub
        network = AutoencoderKL.from_pretrained(path, low_cpu_mem_usage=False)
    except Exception as error:  # a damaged file, no such name, no network: many kinds
        raise DataMissing(
            f"VAE {path} doesn't load ({type(error).__name__}: {cut(one_line(str(error)), 200)}); "
            "name a folder that AutoencoderKL.save_pretrained made, such as a copy of "
            "stabilityai/sd-vae-ft-ema"
        ) from None
    finally:
        hub.setLevel(loud)
    if network.config.in_channels != 3:
        raise CabenchError(f"VAE {path}: takes {network.config.in_channels} channels, not 3 (RGB)")
    return network.eval().requires_grad_(False)


def weights_hash(network: Any) -> str:
    """sha256 of the weights by name, whatever file they came in."""
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
