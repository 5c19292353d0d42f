"""Backbones: one readable file each. Importing this package registers them."""

from cabench.models.backbones import cat as cat
from cabench.models.backbones import dit as dit
from cabench.models.backbones import uvit as uvit
