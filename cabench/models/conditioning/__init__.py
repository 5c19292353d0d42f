"""Conditioning methods: one file each. Importing this package registers them."""

from cabench.models.conditioning import adaln_zero as adaln_zero
from cabench.models.conditioning import can as can
