"""Settings that may hold a secret are never quoted: not by a print, and not by an error about them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from features.errors import ConfigurationError
from settings import Settings, load_settings, may_quote

SECRET = "hunter2-hunter2"
HOOK = f"https://hooks.example/services/{SECRET}"


def test_the_webhook_is_taken_from_conf_environment_and_set_and_printed_as_stars(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("BEHAVIOR_ALERTS__WEBHOOK", HOOK)
    for loaded in (load_settings("local"), load_settings("local", [f"alerts.webhook={HOOK}"])):
        assert loaded.alerts.webhook is not None
        assert loaded.alerts.webhook.get_secret_value() == HOOK
        assert SECRET not in f"{loaded!r} {loaded} {loaded.model_dump()} {loaded.model_dump_json()}"


@pytest.mark.parametrize(
    "override",
    [
        f"alerts.webhook=ftp://{SECRET}",
        f"alerts.webhook=[{SECRET}]",
        f"alerts.webhook_token=[{SECRET}]",
        f"alerts={SECRET}",
        f"kafka.password=[{SECRET}]",
        f"kafka.options={SECRET}",
        f"kafka.options={{sasl.password: [{SECRET}]}}",
        f"kafka.bootstrap_servers=[{SECRET}]",
        f"s3.endpoint=https://me:{SECRET}@minio",
        f"model.tracking_uri=[{SECRET}]",
        f"spark.conf={{fs.key: [{SECRET}]}}",
        f"api_token=[{SECRET}]",
        f"kafka.password:{SECRET}",
        f"kafka.password {SECRET}",
        f"kafka.password=[{SECRET}",
        f"nonsense.password={SECRET}",
        f"kafka.nonsense={SECRET}",
    ],
)
def test_an_error_about_a_setting_that_may_be_a_secret_does_not_quote_it(override: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        load_settings("local", [override])
    assert SECRET not in str(refused.value)
    assert refused.value.__cause__ is None


@pytest.mark.parametrize("name", ["BEHAVIOR_KAFKA", "BEHAVIOR_ALERTS", "BEHAVIOR_KAFKA__OPTIONS"])
def test_an_environment_variable_that_cannot_be_read_is_named_and_not_quoted(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, f"{{password: {SECRET}")
    with pytest.raises(ConfigurationError) as refused:
        load_settings("local")
    assert SECRET not in str(refused.value)


def test_a_line_of_a_file_that_is_no_yaml_is_not_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "base.yaml").write_text(f"kafka:\n  password: [{SECRET}\n  topic: x\n")
    (tmp_path / "local.yaml").write_text("")
    monkeypatch.setenv("BEHAVIOR_CONF_DIR", str(tmp_path))
    with pytest.raises(ConfigurationError, match=r"base\.yaml is not valid YAML: .* line \d+, column \d+\.") as refused:
        load_settings("local")
    assert SECRET not in str(refused.value)


def test_other_values_are_quoted_so_that_a_mistake_is_seen() -> None:
    with pytest.raises(ConfigurationError, match=r"Setting serving\.port: .* \(found 'high'\)"):
        load_settings("local", ["serving.port=high"])


def test_every_secret_of_the_settings_is_kept_out_of_errors() -> None:
    schema = json.dumps(Settings.model_json_schema())
    assert schema.count('"writeOnly": true') >= 6
    for section, field in Settings.model_fields.items():
        for name, key in getattr(field.annotation, "model_fields", {}).items():
            assert "SecretStr" not in str(key.annotation) or not may_quote((section, name))
