"""What runs the day a GPU is there: `bash benchmarks/gpu.sh`."""
