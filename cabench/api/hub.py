"""A trained network in the format of diffusers: config.json, safetensors weights, a pipeline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin

from cabench.api.models import TrainedModel, check_versions
from cabench.data.dataset import VaeSource
from cabench.data.vae import HUB_NAME
from cabench.errors import CabenchError
from cabench.models.model import build
from cabench.records.spec import TrialSpec


class ExportedNetwork(ModelMixin, ConfigMixin):
    """The averaged network of a trial as a model of diffusers; its config is the whole spec."""

    @register_to_config
    def __init__(
        self,
        name: str,
        spec: dict[str, Any],
        classes: Mapping[str, Sequence[str]],
        vae: dict[str, Any] | None = None,
        text_path: str | None = None,
    ):
        super().__init__()
        trial = TrialSpec.model_validate(spec)
        check_versions(name, trial.train)
        self.network = build(trial.train.model)

    @classmethod
    def of(cls, model: TrainedModel) -> ExportedNetwork:
        """The network of a model that `cabench.load_model` returned, with its weights.

        A path is stored where it is a name on the hub; a folder is of this machine alone.
        """
        vae = model.vae
        exported = cls(
            name=model.name,
            spec=model.spec.dump(),
            classes={stream: list(names) for stream, names in model.classes.items()},
            vae=None if vae is None else {**asdict(vae), "path": hub_name(vae.path)},
            text_path=None if model.text_path is None else hub_name(model.text_path),
        )
        exported.network.load_state_dict(model.network.state_dict())
        return exported

    def model(self, vae_path: str | None = None, text_path: str | None = None) -> TrainedModel:
        """What `cabench.sample` takes.

        Args:
            vae_path: the VAE of a network on latents: a folder in diffusers' format, or a name on
                the hub. Default: the name in the config.
            text_path: weights of the text encoder: a folder, or a name on the hub. Default: the
                name in the config, else the encoder's own.

        Raises:
            CabenchError: the network is on latents, and there is no path of its VAE.
        """
        config: Any = self.config
        vae = None if config.vae is None else dict(config.vae)
        if vae is not None:
            vae["path"] = vae_path or vae["path"]
            if vae["path"] is None:
                raise CabenchError(
                    f"{config.name}: its latents need the VAE with sha256 {vae['sha256'][:12]}; "
                    "expected vae_path: a folder in diffusers' format, or OWNER/NAME on the hub"
                )
        return TrainedModel(
            name=config.name,
            network=self.network.eval(),
            spec=TrialSpec.model_validate(config.spec),
            classes=config.classes,
            vae=None if vae is None else VaeSource(**vae),
            text_path=text_path or config.text_path,
        )


def hub_name(path: str) -> str | None:
    """The path where it is a name on the Hugging Face hub, None where it is a local one."""
    return path if HUB_NAME.fullmatch(path) and not Path(path).exists() else None
