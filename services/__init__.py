"""The two services of the ledger; they share `shared/` and nothing else."""
