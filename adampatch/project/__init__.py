"""Files in and out of a project: finding them, reading, replacing and restoring them.
No analysis of code here: what to write is passed in."""
