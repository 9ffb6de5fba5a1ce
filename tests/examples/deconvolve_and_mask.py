# %% [markdown]
# # Deconvolve one tomogram, find the specimen in it, and look
# Functions of numpy arrays: nothing is written but what you write.

# %% A tomogram: yours would be isonet2.read_mrc("tomogram.mrc"), or just its path in place of the array.
import matplotlib.pyplot as plt
import numpy as np

import isonet2

raw = isonet2.simulate(size=(40, 64, 64), pixel_size=10, snr=0.5, defocus=30000, particles=30, membranes=0).full

# %% Contrast for the eye, by a Wiener-like filter. help(isonet2.deconvolve) lists its settings.
deconvolved = isonet2.deconvolve(raw, pixel_size=10, defocus=30000, snrfalloff=0.7)

# %% Where the specimen is.
mask = isonet2.make_mask(deconvolved, density_percentage=60, std_percentage=60, z_crop=0.2)
print(f"{mask.mean():.0%} of the voxels are kept")

# %% The middle slice of each, dark protein on bright ice.
figure, axes = plt.subplots(1, 3, figsize=(10, 3.6), layout="constrained")
for axis, (name, volume) in zip(axes, {"raw": raw, "deconvolved": deconvolved, "mask": mask}.items(), strict=True):
    middle = volume[len(volume) // 2]
    low, high = np.percentile(middle, (1, 99)) if volume is not mask else (0, 1)
    axis.imshow(middle, cmap="gray", vmin=low, vmax=high, origin="lower")
    axis.set(title=name, xticks=[], yticks=[])
figure.savefig("slices.png", dpi=150)

# %% Keep them.
isonet2.write_mrc("deconvolved.mrc", deconvolved, pixel_size=10)
isonet2.write_mrc("mask.mrc", mask, pixel_size=10)
