"""The gateway contract, and the two drivers that need nothing else."""
