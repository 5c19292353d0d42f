"""Diffusion process, training loop, diagnostics of generated weights."""
