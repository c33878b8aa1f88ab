"""Training: what a batch holds, the loop, its state on disk, validation."""
