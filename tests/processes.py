"""What tests of real processes ask: how long to wait for one, and what it runs."""

import psutil

PATIENCE = 900
"""Seconds: a limit against hanging, never a measure. A busy machine may take ten times as long as an idle one."""


def command_line(process: psutil.Process) -> str:
    """What a process was started with; nothing once it has ended, whether or not its parent has noticed."""
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""
