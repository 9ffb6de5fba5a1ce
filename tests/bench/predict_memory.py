"""Peak memory of predict for volumes of several sizes, each in a process of its own.

    python tests/bench/predict_memory.py [SIZE …]        by default 64x96x96 256x512x512

Noise as input, unet-tiny with random weights, cubes of 32: memory does not depend on what is predicted.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil


def measure(size: str, folder: Path) -> str:
    """One line for the table; runs in a process of its own."""
    from isonet2.inference.networks import NetworkInfo, save_network
    from isonet2.io.mrc import writing_mrc
    from isonet2.io.star import TomogramRow, write_star
    from isonet2.job.architectures import shape_of
    from isonet2.job.models import Job, Predict, Resources
    from isonet2.models.registry import build_network
    from isonet2.pipeline import run

    z, y, x = (int(side) for side in size.split("x"))
    rng = np.random.default_rng(0)
    for name in ("even", "odd"):
        with writing_mrc(folder / f"{name}.mrc", (z, y, x), header=None, pixel_size_angstrom=10.0) as half:
            for _ in range(z):
                half.append(rng.standard_normal((1, y, x), dtype=np.float32))
    row = TomogramRow(
        index=1, half1="even.mrc", half2="odd.mrc", pixel_size_angstrom=10.0, tilt_min_deg=-60.0, tilt_max_deg=60.0,
        number_subtomos=1,
    )  # fmt: skip
    write_star(folder / "tomograms.star", [row])
    shape = shape_of("unet-tiny", {})
    save_network(folder / "n.pt", build_network(shape, seed=0), NetworkInfo("isonet2-n2n", "unet-tiny", 32, 1, shape))
    start = psutil.Process().memory_info().rss / 1e6
    began = time.monotonic()
    job = Job(predict=Predict(model="n.pt"), resources=Resources(threads_per_rank=os.cpu_count()))
    run(job.in_folder(folder), always=True)
    peak = json.loads((folder / "stages" / "predict.json").read_text())["peak_memory_gb"][0] * 1e3
    volume = 4 * z * y * x / 1e6
    return (
        f"{size:>12} {volume:8.0f} {start:8.0f} {peak:8.0f} {peak - start:8.0f} {(peak - start) / volume:8.2f} "
        f"{time.monotonic() - began:8.0f}"
    )


def main() -> None:
    if sys.argv[1:2] == ["--one"]:
        print(measure(sys.argv[2], Path(sys.argv[3])))
        return
    print("      volume       MB    start     peak    above   × volume     s")
    for size in sys.argv[1:] or ["64x96x96", "256x512x512"]:
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, __file__, "--one", size, folder]
            print(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout, end="", flush=True)


if __name__ == "__main__":
    main()
