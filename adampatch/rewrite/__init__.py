"""Facts to edits: what to write at a site, libcst edits of a file, guards, live methods."""
