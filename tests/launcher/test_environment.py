from __future__ import annotations

import stat
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from vla_project.launcher.environment import LaunchOptions, as_env_file, read_env_file
from vla_project.launcher.exceptions import LauncherError
from vla_project.launcher.generated_secrets import generated_secrets


def test_env_files_are_read_as_people_write_them(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text(
        "# services\n\nPORT=9000\nexport DEMO = 0\nSECRET_KEY='a=b # c'\nREDIS_URL=\"redis://x/0\"\nEMPTY=\n"
    )

    assert read_env_file(file) == {
        "PORT": "9000",
        "DEMO": "0",
        "SECRET_KEY": "a=b # c",
        "REDIS_URL": "redis://x/0",
        "EMPTY": "",
    }


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    values = {"DATABASE_URL": "postgresql://vla:p-w_d@127.0.0.1:5432/vla", "FIELD_ENCRYPTION_KEYS": "a1=,b2=="}
    file = tmp_path / "run.env"
    file.write_text(as_env_file(values))

    assert read_env_file(file) == values


def test_a_line_that_is_no_assignment_is_named(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("PORT=8000\nDATABASE_URL postgres\n")

    with pytest.raises(LauncherError, match=r"\.env, line 2: expected KEY=value"):
        LaunchOptions.read(tmp_path, {})


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("PORT=9000\nVAR_DIR=data\n")

    options = LaunchOptions.read(tmp_path, {"PORT": "9001"})

    assert (options.port, options.var_dir) == (9001, tmp_path / "data")


@pytest.mark.parametrize("port", ["http", "0", "65536", "-1", ""])
def test_an_impossible_port_is_refused(tmp_path: Path, port: str) -> None:
    with pytest.raises(LauncherError, match="PORT must be a number"):
        LaunchOptions.read(tmp_path, {"PORT": port})


@pytest.mark.parametrize(("value", "expected"), [("1", True), ("0", False), ("False", False), ("", False)])
def test_demo_can_be_switched_off(tmp_path: Path, value: str, expected: bool) -> None:
    assert LaunchOptions.read(tmp_path, {"DEMO": value}).demo is expected


def test_a_server_on_all_addresses_is_found_on_this_machine(tmp_path: Path) -> None:
    assert LaunchOptions.read(tmp_path, {"HOST": "0.0.0.0", "PORT": "80"}).base_url == "http://127.0.0.1:80"


def test_secrets_are_strong_private_and_made_once(tmp_path: Path) -> None:
    first = generated_secrets(tmp_path)

    assert generated_secrets(tmp_path) == first
    assert stat.S_IMODE((tmp_path / "secrets.env").stat().st_mode) == 0o600
    assert min(len(first["SECRET_KEY"]), len(first["API_KEY_PEPPER"])) >= 48
    Fernet(first["FIELD_ENCRYPTION_KEYS"])


def test_a_secret_that_is_missing_is_added_and_the_others_stay(tmp_path: Path) -> None:
    (tmp_path / "secrets.env").write_text("SECRET_KEY=mine\n")

    values = generated_secrets(tmp_path)

    assert values["SECRET_KEY"] == "mine"
    assert values["API_KEY_PEPPER"]
