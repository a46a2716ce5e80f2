"""Sweeps: one notebook with many sets of parameters, through Snakemake (workflow/Snakefile), gathered into one table."""
