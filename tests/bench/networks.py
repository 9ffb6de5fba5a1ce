"""The networks: parameters, and memory and time of a training step and of a prediction, as the README's table.

    python tests/bench/networks.py [NETWORK …]        by default all; one cube of 64³, one thread, float32

Each number comes from a process of its own; memory is what it takes above its start.
"""

import json
import os
import subprocess
import sys
import time

SIDE = 64
REPEATS = 3


def measured(arch: str, *, trained: bool) -> dict[str, float]:
    """GB above the start, and CPU seconds of the fastest of some steps after the first."""
    import torch

    from isonet2.job.architectures import ARCHITECTURES
    from isonet2.models.compute import Compute
    from isonet2.models.registry import build_network
    from isonet2.parallel.memory import peak_memory_gb

    torch.set_num_threads(1)
    before = peak_memory_gb("cpu")
    compute = Compute(torch.device("cpu"), half=None)
    network = compute.place(build_network(ARCHITECTURES[arch], seed=0)).train(trained)
    optimizer = torch.optim.AdamW(network.parameters())
    cube = compute.lay_out(torch.randn(1, 1, SIDE, SIDE, SIDE))
    seconds = []
    for _ in range(1 + REPEATS):
        began = time.process_time()
        if trained:
            optimizer.zero_grad()
            network(cube).square().mean().backward()
            optimizer.step()
        else:
            with torch.inference_mode():
                network(cube)
        seconds.append(time.process_time() - began)
    return {"gb": peak_memory_gb("cpu") - before, "s": min(seconds[1:])}


def in_its_own_process(arch: str, kind: str) -> dict[str, float]:
    run = subprocess.run(
        [sys.executable, __file__, "--measure", arch, kind],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found: dict[str, float] = json.loads(run.stdout)
    return found


def main() -> None:
    if sys.argv[1:2] == ["--measure"]:
        print(json.dumps(measured(sys.argv[2], trained=sys.argv[3] == "train")))
        return
    from isonet2.job.architectures import ARCHITECTURES

    print("| network | parameters | cubes: multiple of | step: GB | step: CPU-s | forward: GB | forward: CPU-s |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for arch in sys.argv[1:] or ARCHITECTURES:
        shape = ARCHITECTURES[arch]
        step, forward = in_its_own_process(arch, "train"), in_its_own_process(arch, "predict")
        numbers = f"{shape.parameters / 1e6:.2f} M | {shape.divisor} | {step['gb']:.2f} | {step['s']:.2f}"
        print(f"| {arch} | {numbers} | {forward['gb']:.2f} | {forward['s']:.2f} |", flush=True)


if __name__ == "__main__":
    main()
