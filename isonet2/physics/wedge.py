"""The measured region of a single-axis tilt series, and its complement, the missing wedge.

Beam along z at 0°, tilt axis y. A tilt θ measures the plane of ky and the direction (kx, kz) = (cos θ, sin θ), so a
component belongs to the tilt φ = atan(kz/kx) ∈ (−90°, 90°]. Source: Liu et al., Nat Commun 13:6482 (2022).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from isonet2.physics.fourier import frequencies

_ROUNDING = 1e-9  # of frequencies in float64


def wedge_mask(shape: Sequence[int], tilt_min_deg: float, tilt_max_deg: float) -> Tensor:
    """Bool (z, y, x//2+1), zero frequency at [0, 0, 0]: which components a tilt range measures.

    True where tilt_min ≤ φ ≤ tilt_max or kx = kz = 0, and |k| ≤ ½ cycle per voxel. Symmetric under k → −k.
    """
    return measured(frequencies(shape), torch.tensor([tilt_min_deg, tilt_max_deg], dtype=torch.float64))


def rotated_wedges(side: int, tilt_range_deg: Tensor, rotation: Tensor, device: torch.device | str = "cpu") -> Tensor:
    """Bool (B, 1, side, side, side//2+1): the measured region of each sample after its rotation, M(Rᵀk), exactly.

    tilt_range_deg (B, 2): lowest and highest tilt; rotation (B, 3, 3), acting on (z, y, x) vectors.
    """
    k = frequencies((side, side, side), device)
    turned = torch.einsum("zyxi,bij->bzyxj", k, rotation.to(k))  # (Rᵀk)ⱼ = Σᵢ kᵢ Rᵢⱼ
    return measured(turned, tilt_range_deg.to(k)[:, None, None, None])[:, None]


def measured(k: Tensor, tilt_range_deg: Tensor) -> Tensor:
    """Bool (...): whether the frequency vectors `k` (..., 3) = (kz, ky, kx), in cycles per voxel, were measured.

    tilt_range_deg (..., 2) broadcasts against k. The angle is compared by cross products: with kx turned positive,
    φ ≤ θ means kz cos θ ≤ kx sin θ, without a division and without an arctangent.
    """
    kz, kx = k[..., 0], k[..., 2]
    sign = torch.where(kx < 0, -1.0, 1.0).to(kx.dtype)
    kz = torch.where(kx == 0, kz.abs(), kz * sign)  # φ = 90° has one name
    kx = kx.abs()
    theta = torch.deg2rad(tilt_range_deg)
    low, high = theta[..., 0], theta[..., 1]
    above = kz * low.cos() >= kx * low.sin() - _ROUNDING
    below = kz * high.cos() <= kx * high.sin() + _ROUNDING
    in_sphere = k.square().sum(-1) <= 0.25 + _ROUNDING
    return above & below & in_sphere
