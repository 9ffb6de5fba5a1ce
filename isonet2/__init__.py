"""isonet2: missing-wedge correction and denoising of cryo-electron tomograms."""

__version__ = "0.1.0"
