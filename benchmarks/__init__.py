"""Benchmarks: ratios against stock, measured side by side in one run."""
