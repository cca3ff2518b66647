"""The verifier's worker: runs inside the environment that is verified (target side)."""
