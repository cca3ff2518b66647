"""The page that `adampatch report` makes of a log directory: reading, curves, the page."""
