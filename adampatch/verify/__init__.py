"""Stock and patched optimizers side by side: what to run, the worker that runs it, the judge."""
