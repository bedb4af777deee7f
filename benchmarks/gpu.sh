#!/usr/bin/env bash
# All that is to be known of a GPU, in nine minutes: correctness, speed, a training run. docs/benchmark.md tells how.
#   bash benchmarks/gpu.sh [OUT] [--rehearse] [--seconds 540]
set -euo pipefail
cd "$(dirname "$0")/.."
exec "${PYTHON:-python3}" -m benchmarks.gpu "$@"
