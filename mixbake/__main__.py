"""`python -m mixbake` and the `mixbake` command."""

import sys


def main() -> None:
    """Run the command line; exits with the codes of `mixbake.errors`."""
    from mixbake.cli import run  # noqa: PLC0415 - keeps `import mixbake.__main__` free of everything

    sys.exit(run())


if __name__ == "__main__":
    main()
