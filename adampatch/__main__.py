"""``python -m adampatch``."""

from adampatch.cli import main

if __name__ == "__main__":
    main()
