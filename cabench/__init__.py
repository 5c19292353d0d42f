"""Which way of telling a diffusion transformer its condition works best, and how sure are we?"""

__version__ = "0.1.0"
