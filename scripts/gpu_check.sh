#!/usr/bin/env bash
# Runs scripts/gpu_check.py within a hard time limit (LIMIT, 480 s), without network. Packages that
# the machine lacks come from the folder WHEELS (./gpu_wheels), which scripts/gpu_pack.sh collects.
# Results: OUT (./gpu_check_out) / gpu_check.tar.gz. Further arguments go to gpu_check.py. The exit code
# is 1 if a part failed: OUT/failed.txt names it, and the other parts are in the tar all the same.
set -u
cd "$(dirname "$0")/.."
LIMIT=${LIMIT:-480} WHEELS=${WHEELS:-gpu_wheels} PYTHON=${PYTHON:-python3}
export OUT=${OUT:-gpu_check_out}
mkdir -p "$OUT"
rm -f "$OUT/failed.txt" "$OUT/gpu_check.tar.gz"  # of an earlier run
began=$SECONDS
site="$OUT/../gpu_check_site"
if [ -d "$WHEELS" ]; then
    "$PYTHON" scripts/gpu_unpack.py "$WHEELS" "$site" || exit 1
fi
# the machine's own packages come first: the wheels only add what it lacks
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}:$(cd "$site" 2>/dev/null && pwd)"
export TORCHINDUCTOR_CACHE_DIR="${OUT%/}-inductor" HF_HUB_OFFLINE=1
left=$((LIMIT - (SECONDS - began)))
[ "$left" -ge 1 ] || left=1  # 0 would be no limit
timeout --kill-after=5 "$left" "$PYTHON" scripts/gpu_check.py --limit "$left" "$@"
code=$?
# stopped or broken before its end: what is there goes into the tar
if [ $code -gt 1 ] || [ ! -f "$OUT/gpu_check.tar.gz" ]; then
    tar -C "$OUT" -czf "$OUT/gpu_check.tar.gz" --exclude=gpu_check.tar.gz* . || true
fi
ls -l "$OUT/gpu_check.tar.gz"
case $code in
    0) ;;
    124 | 137) echo "gpu_check: stopped after $LIMIT s; the parts that ended are in the tar" >&2 ;;
    *) echo "gpu_check: failed (exit code $code):" >&2; cat "$OUT/failed.txt" >&2 || true ;;
esac
exit $code
