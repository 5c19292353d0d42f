"""Backbones, conditioning methods, and the seam between them."""
