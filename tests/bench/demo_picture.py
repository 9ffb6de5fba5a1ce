"""The picture of the README, from a finished demo: python tests/bench/demo_picture.py demo launch/demo.png

Rows xy and xz through the middle of the first tomogram; columns raw (mean of the halves), corrected, truth; black and
white are the 1st and 99th percentile of each column.
"""

import json
import sys
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from isonet2.io.mrc import open_volume

NAME = "tomo_001"


def read(path: Path) -> np.ndarray:
    with open_volume(path) as volume:
        return volume[0 : volume.shape[0]]


def main() -> None:
    demo, output = (Path(word) for word in sys.argv[1:3])
    raw = (read(demo / f"simulated/even/{NAME}.mrc") + read(demo / f"simulated/odd/{NAME}.mrc")) / 2
    columns = {
        "raw": raw,
        "corrected": read(demo / f"corrected_tomos/corrected_{NAME}.mrc"),
        "truth": read(demo / f"simulated/truth/{NAME}.mrc"),
    }
    scores = json.loads((demo / "truth.json").read_text())["tomograms"][NAME]
    z, y, x = raw.shape
    figure = Figure(figsize=(9, 9 * (y + z) / (3 * x) + 0.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, 3, height_ratios=(y, z))
    for column, (name, volume) in enumerate(columns.items()):
        planes = (volume[z // 2], volume[:, y // 2])
        low, high = np.percentile(np.concatenate([plane.ravel() for plane in planes]), (1, 99))
        for row, plane in enumerate(planes):
            axes[row, column].imshow(plane, cmap="gray", vmin=low, vmax=high, origin="lower")
            axes[row, column].set_axis_off()
        where = f": {scores[name]['cc_wedge']:.2f} in the wedge" if name in scores else ""
        axes[0, column].set_title(f"{name}{where}", fontsize=11)
    figure.savefig(output, dpi=110)


main()
