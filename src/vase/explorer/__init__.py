"""A run in the browser: drag a latent, drop an image, scrub through the training."""

from vase.explorer.server import serve

__all__ = ["serve"]
