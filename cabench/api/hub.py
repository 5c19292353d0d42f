"""A trained network in the format of diffusers: config.json, safetensors weights, a pipeline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin

from cabench.api.models import TrainedModel, check_versions
from cabench.data.dataset import VaeSource
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
        """The network of a model that `cabench.load_model` returned, with its weights."""
        exported = cls(
            name=model.name,
            spec=model.spec.dump(),
            classes={stream: list(names) for stream, names in model.classes.items()},
            vae=None if model.vae is None else asdict(model.vae),
            text_path=model.text_path,
        )
        exported.network.load_state_dict(model.network.state_dict())
        return exported

    @property
    def model(self) -> TrainedModel:
        """What `cabench.sample` takes."""
        config: Any = self.config
        return TrainedModel(
            name=config.name,
            network=self.network.eval(),
            spec=TrialSpec.model_validate(config.spec),
            classes=config.classes,
            vae=None if config.vae is None else VaeSource(**config.vae),
            text_path=config.text_path,
        )
