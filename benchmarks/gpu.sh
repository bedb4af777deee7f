#!/usr/bin/env bash
# Is this GPU right, and how fast is it: correctness, speed, a training run in nine minutes (docs/benchmark.md).
#   bash benchmarks/gpu.sh [OUT] [--rehearse] [--seconds 540]
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"
exec "${PYTHON:-python3}" -m benchmarks.gpu "$@"
