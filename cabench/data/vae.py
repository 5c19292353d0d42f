"""VAEs that encode images as latents and decode them: diffusers' AutoencoderKL.

Latent diffusion: Rombach et al. 2022, arXiv 2112.10752.
"""

from __future__ import annotations

import hashlib
import logging
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from cabench.data.dataset import VaeSource
from cabench.errors import CabenchError, DataMissing, cut, one_line
from cabench.runtime.images import to_float, to_uint8

if TYPE_CHECKING:
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

BATCH = 16  # latents decoded at once
HUB_NAME = re.compile(r"[\w-][\w.-]*/[\w.-]+")  # OWNER/NAME on the Hugging Face hub


class VAE:
    """A frozen VAE in float32. A latent is (mean + std * noise - shift) * scale."""

    def __init__(
        self,
        path: str,  # a folder in diffusers' format, or a name on the hub
        device: str = "cpu",
        sha256: str | None = None,  # expected hash of the weights
        scale: float | None = None,  # default: the VAE's own (Stable Diffusion: 0.18215)
        shift: float | None = None,  # default: the VAE's own, usually 0
    ):
        self.path, self.device = path, device
        self.network: Any = load_autoencoder(path)  # diffusers' hints do not fit its attributes
        self.sha256 = weights_hash(self.network)
        if sha256 not in (None, self.sha256):
            raise DataMissing(
                f"VAE {path}: expected weights with sha256 {sha256[:12]}, which the latents were "
                f"encoded with, got {self.sha256[:12]}; set `vae: DIR` in the options of `latents`"
            )
        config = self.network.config
        self.scale = float(config.scaling_factor if scale is None else scale)
        self.shift = float((config.shift_factor or 0.0) if shift is None else shift)
        self.channels: int = config.latent_channels
        self.factor = 2 ** (len(config.block_out_channels) - 1)  # image side / latent side
        self.network.to(device)

    @classmethod
    def of(cls, source: VaeSource, device: str = "cpu") -> VAE:
        """The VAE that latents were encoded with; DataMissing if its weights are others."""
        return cls(source.path, device, source.sha256, source.scale, source.shift)

    @property
    def facts(self) -> dict[str, str | float]:
        """What decides a latent, for keys and records."""
        return {"sha256": self.sha256, "scale": self.scale, "shift": self.shift}

    @torch.no_grad()
    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Posterior mean and standard deviation (B, C, h, w) of images (B, 3, H, W) uint8."""
        posterior = self.network.encode(to_float(images.to(self.device))).latent_dist
        return posterior.mean.cpu(), posterior.std.cpu()

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """Images (B, 3, H, W) uint8 of sampled latents (B, C, h, w)."""
        images = []
        for batch in latents.to(self.device).split(BATCH):
            x = self.network.decode(batch / self.scale + self.shift).sample  # (b, 3, H, W)
            images.append(to_uint8(x).cpu())
        return torch.cat(images)


def load_autoencoder(path: str) -> AutoencoderKL:
    """The network in `path` or `path`/vae, or of that name on the hub; DataMissing if none."""
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

    folder = Path(path)
    if folder.exists():
        folders = [p for p in (folder, folder / "vae") if (p / "config.json").is_file()]
        if not folders:
            raise DataMissing(
                f"VAE: no config.json in {folder} or {folder / 'vae'}; name a folder written by "
                "AutoencoderKL.save_pretrained"
            )
        path = str(folders[0])
    elif not HUB_NAME.fullmatch(path):
        raise DataMissing(f"VAE: no such folder: {path}; expected a folder or OWNER/NAME")
    hub = logging.getLogger("huggingface_hub")
    level = hub.level
    try:
        hub.setLevel(logging.CRITICAL)  # it logs every failed attempt to reach the hub
        network = AutoencoderKL.from_pretrained(path, low_cpu_mem_usage=False)
    except Exception as error:  # of many types: a corrupted file, no such name, no network
        raise DataMissing(
            f"VAE {path} cannot be loaded ({type(error).__name__}: "
            f"{cut(one_line(str(error)), 200)}); name a folder written by "
            "AutoencoderKL.save_pretrained, such as a copy of stabilityai/sd-vae-ft-ema"
        ) from None
    finally:
        hub.setLevel(level)
    channels = network.config["in_channels"]
    if channels != 3:
        raise CabenchError(f"VAE {path}: expected 3 input channels (RGB), got {channels}")
    return network.eval().requires_grad_(False)


def weights_hash(network: nn.Module) -> str:
    """sha256 of the weights by name, whatever file they are from."""
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
