"""What `make run` says when the system is ready: where it is, who can log in, and a first request to try."""

from __future__ import annotations

import json
from pathlib import Path


def announcement(base_url: str, demo_file: Path, seconds: float) -> str:
    """:param demo_file: `VAR_DIR/demo.json` of contract.md section 1; need not exist"""
    lines = ["", f"Ready in {seconds:.1f} s: {base_url}   (Ctrl-C stops everything)"]
    if demo_file.exists():
        demo = json.loads(demo_file.read_text())
        lines += [
            *(
                f"  {role:<10} {demo[role]['username']} / {demo[role]['password']}"
                for role in ("admin", "annotator", "viewer")
            ),
            f"  {'robot key':<10} {demo['api_key']}",
            f"  {'live view':<10} {base_url}/live/{demo['collection']}/",
        ]
        if "curl" in demo:
            lines += ["", "Try it:", demo["curl"]]
    return "\n".join([*lines, ""])
