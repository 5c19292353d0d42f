"""Backbones: one readable file each. Importing this package registers them."""

from cabench.models.backbones import dit as dit
