#!/usr/bin/env bash
# Does isonet2 work in this image, on this host? About a minute; writes only below TMPDIR (/tmp).
#   apptainer test isonet2.sif · docker run --rm isonet2:TAG smoke.sh
set -euo pipefail
WORK=$(mktemp -d "${TMPDIR:-/tmp}/isonet2-smoke-XXXXXX") || { echo "smoke: TMPDIR must be a folder to write in" >&2; exit 64; }
trap 'chmod -R u+w "$WORK"; rm -rf "$WORK"' EXIT
export OMP_NUM_THREADS=1
cd "$WORK"

check() { # check WHAT COMMAND…: one line, and what the command said if it failed
  printf 'smoke: %-46s ' "$1"
  shift
  if "$@" > said 2>&1; then echo ok; else echo "FAILED: $*"; cat said >&2; exit 1; fi
}

# From here on a home whose packages would break everything, as the one of a user may.
PACKAGES=$WORK/home/.local/lib/$(python -c 'import sys; print("python%d.%d" % sys.version_info[:2])')/site-packages
mkdir -p "$PACKAGES"
for name in torch numpy isonet2; do echo 'raise SystemExit("a package of the home was imported")' > "$PACKAGES/$name.py"; done
export HOME=$WORK/home

check "packages" python -c '
import importlib
for name in "torch numpy scipy h5py mrcfile mpi4py pydantic psutil matplotlib isonet2".split():
    importlib.import_module(name)'
python -c '
import platform, h5py, mpi4py, numpy, torch
mpi4py.rc.initialize = False
from mpi4py import MPI
mpich = MPI.Get_library_version().split()[2]
print(f"smoke: Python {platform.python_version()}, torch {torch.__version__}, numpy {numpy.__version__}, h5py {h5py.__version__}", end=", ")
print(f"HDF5 {h5py.version.hdf5_version}, mpi4py {mpi4py.__version__}, MPICH {mpich}")'
if python -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; then
  check "the GPU convolves" python -c '
import torch
found = torch.nn.functional.conv3d(torch.ones(1, 1, 8, 8, 8, device="cuda"), torch.ones(1, 1, 3, 3, 3, device="cuda"))
assert (found == 27).all(), torch.cuda.get_device_name()'
else echo "smoke: no GPU is seen"
fi

cat > ranks.py <<'E2'
import torch, torch.distributed as dist
dist.init_process_group("gloo")
found = torch.tensor([dist.get_rank() + 1.0])
dist.all_reduce(found)
assert found.item() == 3
dist.destroy_process_group()
E2
check "two ranks of torchrun add up (gloo)" python -m torch.distributed.run --standalone --local-addr=127.0.0.1 --nproc-per-node=2 ranks.py
check "two ranks of mpiexec meet (MPICH)" mpiexec -n 2 python -c '
from mpi4py import MPI
assert MPI.COMM_WORLD.allgather(MPI.COMM_WORLD.rank) == [0, 1]'

cat > job.yaml <<'E2'
version: 1
resources: {ranks_per_node: 2, threads_per_rank: 1, gpus_per_node: 0}
simulate: {count: 1, size: [32, 48, 48], pixel_size: 15, snr: 2, particles: 20, membranes: 0}
prepare_star: {even: simulated/even, odd: simulated/odd, number_subtomos: 8}
make_mask:
refine: {channels: [4, 8], cube_size: 16, epochs: 1}
predict:
E2
check "a job, by two ranks: simulate to predict" \
  python -m torch.distributed.run --standalone --local-addr=127.0.0.1 --nproc-per-node=2 -m isonet2 run job.yaml
check "its corrected tomogram" python -c '
import mrcfile, numpy
with mrcfile.open("corrected_tomos/corrected_tomo_001.mrc") as file:
    assert file.data.shape == (32, 48, 48) and numpy.isfinite(file.data).all() and file.data.std() > 0'
check "its cubes, a whole HDF5 file read without locks" python -c '
import glob, h5py
shards = glob.glob("cache/*/*.h5")
assert shards
for shard in shards:
    with h5py.File(shard, locking=False) as file:
        assert sum(1 for _ in file)'

mkdir locked
cp job.yaml locked/
chmod 555 locked
if [ -w locked ]; then echo "smoke: a folder that cannot be written in: not tried, since root can"
else
  refused() { ! isonet2 run locked/job.yaml > refusal 2>&1 && cat refusal && grep -q locked refusal && ! grep -q Traceback refusal; }
  check "a folder that cannot be written in: one line" refused
fi
echo "smoke: all is well"
