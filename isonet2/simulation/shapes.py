"""Particles made from formulas: clouds of pseudo-atoms, from which densities of any pixel size are drawn.

A cloud is float32 (n, 4): x, y, z in Å from its centre, and the volume of protein in Å³ that the pseudo-atom stands
for. Each function of SHAPES draws one structure; its random numbers are its own, so a ribosome is the same ribosome in
every tomogram. Sizes are those of the molecules that the shapes are named after; the details are invented.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Cloud = NDArray[np.float32]
Vector = tuple[float, float, float]

ATOM_VOLUME_A3 = 250.0  # about two residues
RNA = 1.8  # contrast to ice over that of protein
LIPID = 1.3  # head groups
GOLD = 12.0


def radius_angstrom(cloud: Cloud) -> float:
    """The distance of the outermost pseudo-atom from the centre."""
    return float(np.linalg.norm(cloud[:, :3], axis=1).max())


def _globule(rng: Generator, centre: Vector, radius: float, density: float = 1.0) -> Cloud:
    """A ball, slightly drawn out in a random direction, filled evenly."""
    count = max(1, round(4 / 3 * math.pi * radius**3 / ATOM_VOLUME_A3))
    points = _directions(rng, count) * radius * rng.random((count, 1)) ** (1 / 3)
    axis = _directions(rng, 1)
    points += 0.25 * (points @ axis.T) * axis
    return _cloud(points + np.asarray(centre), density)


def _rod(rng: Generator, start: Vector, end: Vector, radius: float, density: float = 1.0) -> Cloud:
    """A cylinder from `start` to `end`, filled evenly."""
    first, along = np.asarray(start), np.subtract(end, start)
    length = float(np.linalg.norm(along))
    count = max(1, round(math.pi * radius**2 * length / ATOM_VOLUME_A3))
    across = _directions(rng, count)
    across -= (across @ along)[:, None] * along / length**2
    across *= radius * np.sqrt(rng.random((count, 1))) / np.linalg.norm(across, axis=1, keepdims=True)
    return _cloud(first + rng.random((count, 1)) * along + across, density)


def _ribosome(rng: Generator) -> Cloud:
    """Two lobes of RNA helices and proteins, a cleft between them, a tunnel through the large one, two stalks."""

    def inside(x: float, y: float, z: float) -> bool:
        large = (x / 105) ** 2 + (y / 95) ** 2 + ((z - 45) / 72) ** 2 < 1
        small = ((x - 15) / 105) ** 2 + (y / 58) ** 2 + ((z + 72) / 36) ** 2 < 1
        tunnel = z > 20 and math.hypot(x - 0.4 * z, y) < 22
        return (large or small) and not tunnel

    parts = [
        _rod(rng, (-90, 20, 30), (-140, 35, 15), 10, RNA),
        _globule(rng, (-145, 38, 12), 17),
        _rod(rng, (85, -45, 15), (130, -70, -5), 11),
        _rod(rng, (95, 10, -80), (125, 45, -60), 11, RNA),
    ]
    for centre in _apart(rng, inside, extent=125, spacing=22):
        if rng.random() < 0.6:
            half = rng.uniform(14, 26) * _directions(rng, 1)[0]
            parts.append(_rod(rng, tuple(centre - half), tuple(centre + half), 10, RNA))
        else:
            parts.append(_globule(rng, tuple(centre), rng.uniform(11, 17)))
    return _joined(parts)


def _chaperonin(rng: Generator) -> Cloud:
    """Two rings of seven three-domain subunits around a cavity, closed by a cap at one end."""
    subunit = [
        _globule(rng, (46, 0, 18), 21),
        _globule(rng, (54, 8, 46), 14),
        _globule(rng, (48, -4, 72), 18),
        _globule(rng, (44, 0, -22), 21),
        _globule(rng, (58, -6, -46), 14),
        _globule(rng, (54, 10, -66), 17),
        _globule(rng, (30, 4, 104), 13),
        _rod(rng, (34, 4, 104), (12, 0, 118), 9),
    ]
    return _joined([_turned(part, 360 / 7 * k) for k in range(7) for part in subunit])


def _microtubule(rng: Generator) -> Cloud:
    """A piece of a tube of 13 protofilaments, α- and β-tubulin alternating, its ends frayed."""
    tubulins = [_globule(rng, (112, 0, 0), 24, density) for density in (1.1, 0.9)]
    parts = []
    for filament in range(13):
        rise = filament * 3 * 40.0 / 13 - 200
        for monomer in range(rng.integers(0, 3), rng.integers(9, 12)):
            parts.append(_shifted(_turned(tubulins[monomer % 2], 360 / 13 * filament), rise + 40 * monomer))
    return _joined(parts)


def _filament(rng: Generator) -> Cloud:
    """A piece of an actin-like helix: subunits of two domains, 27.5 Å and −166.7° from one to the next."""
    subunit = np.vstack([_globule(rng, (16, 0, 0), 19), _globule(rng, (34, 6, 14), 15)])
    return _joined([_shifted(_turned(subunit, -166.7 * k), 27.5 * (k - 8)) for k in range(17)])


def _cohesin(rng: Generator) -> Cloud:
    """A Y: two unequal arms of coiled coil on a stem, a hinge at one tip, heads at the foot."""
    return _joined(
        [
            _rod(rng, (0, 0, -45), (0, 0, 15), 12),
            _rod(rng, (0, 0, 15), (62, 8, 78), 10),
            _rod(rng, (0, 0, 15), (-42, -8, 62), 10),
            _globule(rng, (72, 10, 90), 20),
            _globule(rng, (-50, -10, 72), 24),
            _globule(rng, (20, 0, -62), 25),
            _globule(rng, (-22, 6, -60), 22),
            _globule(rng, (-6, 30, -34), 17),
        ]
    )


def _complex(rng: Generator) -> Cloud:
    """A compact cluster of unequal globules."""

    def inside(x: float, y: float, z: float) -> bool:
        return (x / 50) ** 2 + (y / 38) ** 2 + (z / 32) ** 2 < 1

    return _joined([_globule(rng, tuple(p), rng.uniform(13, 22)) for p in _apart(rng, inside, extent=50, spacing=28)])


# How each shape is drawn, and its share among the particles.
SHAPES: dict[str, tuple[Callable[[Generator], Cloud], float]] = {
    "ribosome": (_ribosome, 0.25),
    "chaperonin": (_chaperonin, 0.2),
    "microtubule": (_microtubule, 0.05),
    "filament": (_filament, 0.1),
    "cohesin": (_cohesin, 0.2),
    "complex": (_complex, 0.2),
}


@cache
def particle(name: str) -> Cloud:
    """The structure called `name` in SHAPES, always the same one."""
    draw, _ = SHAPES[name]
    return draw(np.random.default_rng(list(SHAPES).index(name)))


def vesicle(rng: Generator, radius: float) -> Cloud:
    """A slightly drawn out shell of two leaflets, the head groups 40 Å apart, with proteins that span it."""
    leaflets = []
    for offset in (-20.0, 20.0):
        count = round(4 * math.pi * (radius + offset) ** 2 * 10 / ATOM_VOLUME_A3)  # a leaflet is 10 Å of head groups
        u = _directions(rng, count)
        leaflets.append(_cloud(u * (_vesicle_radius(u, radius) + offset + rng.normal(0, 3, (count, 1))), LIPID))
    anchors = _directions(rng, round((radius / 60) ** 2))
    proteins = [
        _globule(rng, tuple(u * (r + rng.uniform(0, 50))), rng.uniform(18, 28))
        for u, r in zip(anchors, _vesicle_radius(anchors, radius), strict=True)
    ]
    return _joined(leaflets + proteins)


def gold_bead(rng: Generator, radius: float) -> Cloud:
    """A dense ball."""
    return _joined([_globule(rng, (0, 0, 0), radius, GOLD)])


def _vesicle_radius(directions: NDArray[np.float64], radius: float) -> NDArray[np.float64]:
    """(n, 1) Å: how far the middle of the membrane is in each direction (n, 3)."""
    return radius * (1 + 0.25 * directions[:, :1] ** 2 - 0.08 * directions[:, 1:2])


def _apart(
    rng: Generator, inside: Callable[[float, float, float], bool], *, extent: float, spacing: float
) -> NDArray[np.float64]:
    """(n, 3) random points inside, no two closer than `spacing`, as many as 4000 throws bring."""
    kept: list[NDArray[np.float64]] = []
    for point in rng.uniform(-extent, extent, (4000, 3)):
        if inside(*point) and (not kept or np.linalg.norm(np.asarray(kept) - point, axis=1).min() >= spacing):
            kept.append(point)
    return np.asarray(kept)


def _directions(rng: Generator, count: int) -> NDArray[np.float64]:
    """(count, 3) unit vectors, evenly over the sphere."""
    vectors = rng.standard_normal((count, 3))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


def _cloud(points: NDArray[np.float64], density: float) -> Cloud:
    weights = np.full((len(points), 1), density * ATOM_VOLUME_A3)
    return np.hstack([points, weights]).astype(np.float32)


def _turned(cloud: Cloud, angle_deg: float) -> Cloud:
    """Turned about z."""
    c, s = math.cos(math.radians(angle_deg)), math.sin(math.radians(angle_deg))
    turn = np.array([[c, s, 0, 0], [-s, c, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]], np.float32)
    return cloud @ turn


def _shifted(cloud: Cloud, z: float) -> Cloud:
    """Moved along z, in Å."""
    return cloud + np.array([0, 0, z, 0], np.float32)


def _joined(parts: list[Cloud]) -> Cloud:
    """One cloud around the centre of all pseudo-atoms."""
    cloud = np.vstack(parts)
    cloud[:, :3] -= cloud[:, :3].mean(axis=0)
    return cloud
