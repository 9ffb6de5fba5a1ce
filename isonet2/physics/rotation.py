"""Proper rotations of cubes: the 24 that map a cube onto itself, exactly, and any other, by trilinear interpolation."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from isonet2.physics.acquisition import Tilts

Matrix = npt.NDArray[np.float64]


def _cube_rotations() -> list[Matrix]:
    matrices = []
    for order, signs in product(permutations(range(3)), product((1.0, -1.0), repeat=3)):
        matrix = np.zeros((3, 3))
        matrix[range(3), order] = signs
        if np.linalg.det(matrix) > 0:  # a mirror would turn the handedness of proteins
            matrices.append(matrix)
    return matrices


CUBE_ROTATIONS: list[Matrix] = _cube_rotations()
"""The 24 proper rotations of a cube, acting on (z, y, x) vectors."""

WEDGE_MOVING_ROTATIONS: list[Matrix] = [m for m in CUBE_ROTATIONS if np.count_nonzero(np.diag(m)) < 3]
"""The 20 of them that move the missing wedge: all but the identity and the half turns about z, y and x."""


def wedge_keeping_rotations(tilts_deg: Tilts) -> list[Matrix]:
    """The proper rotations of the cube that leave the measured region of these tilts as it is, the identity first.

    A half turn about y always does; those about z and x, which turn the tilt's sign, where tilts are symmetric.
    """
    turned = sorted((-high, -low) for low, high in tilts_deg)
    keeping = np.allclose(turned, sorted(tilts_deg))
    wanted = ((1, 1, 1), (-1, 1, -1), (1, -1, -1), (-1, -1, 1))[: 4 if keeping else 2]
    return [np.diag(np.array(diagonal, dtype=float)) for diagonal in wanted]


def random_rotation(rng: np.random.Generator) -> Matrix:
    """A uniformly distributed (Haar) rotation, from a normalised Gaussian quaternion (Shoemake 1992)."""
    w, x, y, z = (q := rng.standard_normal(4)) / np.linalg.norm(q)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def rotate(volume: Tensor, rotation: Tensor) -> Tensor:
    """(C, s, s, s) → (C, s, s, s): the volume turned about its centre, out(x) = volume(Rᵀx), zero outside.

    `rotation` (3, 3) acts on (z, y, x) vectors. The 24 rotations of the cube move voxels and change no value; others
    interpolate trilinearly.
    """
    if is_cube_rotation(rotation):
        order = rotation.abs().argmax(dim=1).tolist()
        flipped = [axis + 1 for axis in range(3) if rotation[axis, order[axis]] < 0]
        return volume.permute(0, *(axis + 1 for axis in order)).flip(flipped)
    inverse = rotation.T.flip(0, 1).to(volume)  # grid_sample counts x, y, z
    theta = torch.cat([inverse, torch.zeros(3, 1).to(volume)], dim=1)[None]
    grid = functional.affine_grid(theta, [1, *volume.shape], align_corners=False)
    return functional.grid_sample(volume[None], grid, align_corners=False)[0]


def is_cube_rotation(rotation: Tensor) -> bool:
    """Whether a (3, 3) rotation has only the entries 0, 1 and −1."""
    return bool(((rotation == 0) | (rotation.abs() == 1)).all())
