"""Samples of a network that `cabench export` wrote. Needs `pip install cabench` and diffusers.

from diffusers import DiffusionPipeline

pipe = DiffusionPipeline.from_pretrained(FOLDER, trust_remote_code=True)
pipe(label="Sneaker", n=4).images[0].save("sneaker.png")
"""

from typing import Any

import torch
from diffusers.pipelines.pipeline_utils import DiffusionPipeline, ImagePipelineOutput
from PIL import Image

from cabench.api.hub import ExportedNetwork
from cabench.api.models import sample


class ConditionalPipeline(DiffusionPipeline):
    """A conditional diffusion transformer with the sampler that it was measured with."""

    def __init__(self, network: ExportedNetwork):
        super().__init__()
        self.register_modules(network=network)

    @torch.no_grad()
    def __call__(
        self,
        label: Any = None,
        n: int = 1,
        conditions: dict[str, Any] | None = None,
        guidance_scale: float | None = None,
        num_inference_steps: int | None = None,
        seed: int | None = None,
        output_type: str = "pil",
        vae_path: str | None = None,
        text_path: str | None = None,
    ) -> ImagePipelineOutput:
        """Images of each label, as `cabench.sample` draws them.

        Args:
            label: a class by name or number, or several; default: every class.
            n: images of each label.
            conditions: values of further streams, by name.
            guidance_scale: of the guidance, 1 is none; default: the trial's.
            num_inference_steps: of the sampler; default: the trial's.
            seed: of the noise; default: the trial's.
            output_type: "pil", or "np" for an array (N, C, H, W) uint8.
            vae_path: VAE of a network on latents: a folder, or a name on the hub; default: the name
                in network/config.json.
            text_path: weights of the text encoder: a folder, or a name on the hub; default: the
                name in network/config.json, else the encoder's own.
        """
        images = sample(
            self.network.model(vae_path, text_path),
            label,
            n,
            conditions=conditions,
            guidance=guidance_scale,
            steps=num_inference_steps,
            seed=seed,
        )
        if output_type == "np":
            return ImagePipelineOutput(images=images.numpy())
        arrays = images.permute(0, 2, 3, 1).squeeze(-1).numpy()
        return ImagePipelineOutput(images=[Image.fromarray(array) for array in arrays])
