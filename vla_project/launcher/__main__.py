"""The command line: `python -m vla_project.launcher run|services|secrets|status`."""

from __future__ import annotations

import argparse
import os
import sys

from vla_project.launcher.environment import LaunchOptions
from vla_project.launcher.exceptions import LauncherError
from vla_project.launcher.run import project_folder, run_services, run_system
from vla_project.launcher.run_env import write_run_env
from vla_project.launcher.status import print_status
from vla_project.launcher.var_dir import locked


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m vla_project.launcher", description="Run the system on this machine"
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("run", help="everything, until Ctrl-C")
    commands.add_parser("services", help="PostgreSQL and Redis only, until Ctrl-C")
    commands.add_parser("secrets", help="make the secrets and VAR_DIR/run.env, and start nothing (containers)")
    commands.add_parser("status", help="whether it runs and is ready")
    command = parser.parse_args().command
    try:
        options = LaunchOptions.read(project_folder(), os.environ)
        if command == "status":
            return 0 if print_status(options) else 1
        if command == "run":
            run_system(options)
        elif command == "services":
            run_services(options)
        else:
            with locked(options.var_dir):
                write_run_env(options, {})
    except LauncherError as error:
        sys.stderr.write(f"\n{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
