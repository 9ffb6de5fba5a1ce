"""What networks take in memory for each voxel of their input, in float32, without weights. No torch here.

Measured as peak memory around one step, on a CPU, in channels_last_3d.
"""

from __future__ import annotations

import math
from itertools import pairwise

from isonet2.job.shapes import NetworkShape, UNetShape
