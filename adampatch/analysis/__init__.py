"""From source text to facts: classes, update sites, uses. Pure: no files, no printing."""
