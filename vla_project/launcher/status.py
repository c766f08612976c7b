"""`python -m vla_project.launcher status`: is it running, and is it well?"""

from __future__ import annotations

import sys

from vla_project.launcher.environment import LaunchOptions
from vla_project.launcher.readiness import readiness
from vla_project.launcher.var_dir import launcher_pid


def print_status(options: LaunchOptions) -> bool:
    """Print it; True when the system is ready."""
    pid = launcher_pid(options.var_dir)
    if pid is None:
        sys.stdout.write(f"Nothing runs in {options.var_dir}. Start it with: make run\n")
        return False
    state = readiness(options.base_url)
    sys.stdout.write(
        f"Launcher: process {pid}, {options.var_dir}\n"
        f"{options.base_url}: {'ready' if state.is_ready else 'not ready'}\n{state.detail}\n"
    )
    return state.is_ready
