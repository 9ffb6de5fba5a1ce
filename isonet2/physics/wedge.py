"""The measured region of a single-axis tilt series, and its complement, the missing wedge.

The tilts are one interval, from the lowest to the highest, or several where some are missing in between.

Beam along z at 0°, tilt axis y. A tilt θ measures the plane of ky and the direction (kx, kz) = (cos θ, sin θ), so a
component belongs to the tilt φ = atan(kz/kx) ∈ (−90°, 90°]. Source: Liu et al., Nat Commun 13:6482 (2022).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from isonet2.physics.acquisition import Tilts
from isonet2.physics.fourier import frequencies

_ROUNDING = 1e-9  # of frequencies in float64


def wedge_mask(shape: Sequence[int], tilt_min_deg: float, tilt_max_deg: float) -> Tensor:
    """Bool (z, y, x//2+1), zero frequency at [0, 0, 0]: which components a tilt range measures.

    True where tilt_min ≤ φ ≤ tilt_max or kx = kz = 0, and |k| ≤ ½ cycle per voxel. Symmetric under k → −k.
    """
    return measured_region(shape, ((tilt_min_deg, tilt_max_deg),))


def measured_region(shape: Sequence[int], tilts_deg: Tilts) -> Tensor:
    """Bool (z, y, x//2+1): which components tilts within these intervals measure; see `wedge_mask`."""
    return measured(frequencies(shape), torch.tensor(tilts_deg, dtype=torch.float64))


def rotated_wedges(side: int, tilts_deg: Tensor, rotation: Tensor, device: torch.device | str = "cpu") -> Tensor:
    """Bool (B, 1, side, side, side//2+1): the measured region of each sample after its rotation, M(Rᵀk), exactly.

    tilts_deg (B, I, 2): intervals of tilts, NaN where a sample has fewer; rotation (B, 3, 3), on (z, y, x) vectors.
    """
    k = frequencies((side, side, side), device)
    turned = torch.einsum("zyxi,bij->bzyxj", k, rotation.to(k))  # (Rᵀk)ⱼ = Σᵢ kᵢ Rᵢⱼ
    return measured(turned, tilts_deg.to(k)[:, None, None, None])[:, None]


def measured(k: Tensor, tilts_deg: Tensor) -> Tensor:
    """Bool (...): whether the frequency vectors `k` (..., 3) = (kz, ky, kx), in cycles per voxel, were measured.

    tilts_deg (..., I, 2): intervals, of which one has to hold; the rest broadcasts against k. The angle is compared by
    cross products: with kx turned positive, φ ≤ θ means kz cos θ ≤ kx sin θ, without a division and an arctangent.
    """
    kz, kx = k[..., 0], k[..., 2]
    sign = torch.where(kx < 0, -1.0, 1.0).to(kx.dtype)
    kz = torch.where(kx == 0, kz.abs(), kz * sign)  # φ = 90° has one name
    kx = kx.abs()
    found = torch.zeros(1, dtype=torch.bool, device=k.device)
    for theta in torch.deg2rad(tilts_deg).unbind(-2):
        low, high = theta[..., 0], theta[..., 1]
        above = kz * low.cos() >= kx * low.sin() - _ROUNDING
        below = kz * high.cos() <= kx * high.sin() + _ROUNDING
        found = found | (above & below)
    in_sphere = k.square().sum(-1) <= 0.25 + _ROUNDING
    return found & in_sphere
