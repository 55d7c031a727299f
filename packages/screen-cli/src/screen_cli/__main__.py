"""``python -m screen_cli``."""

from __future__ import annotations

from screen_cli.cli import main

if __name__ == "__main__":
    main()
