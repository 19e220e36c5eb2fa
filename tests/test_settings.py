"""Every variable of the environment: its default, what it may be, and one line that names it when it is wrong."""

import contextlib
import os
import re
import tempfile
from dataclasses import FrozenInstanceError
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from domain.manifests.host_access import HostRules
from settings import SECRETS, Settings, SettingsError, load, load_or_exit, with_secrets

NEEDED = {"DATABASE_URL": "postgresql://u:secret@db/sagahold", "REDIS_URL": "redis://:secret@cache:6379/0"}


def loaded(**environ: str) -> Settings:
    return load(NEEDED | environ)


def test_defaults() -> None:
    """Two URLs are enough."""
    assert loaded() == Settings(
        database_url="postgresql+psycopg2://u:secret@db/sagahold",
        redis_url="redis://:secret@cache:6379/0",
        host="127.0.0.1",
        port=8000,
        public_url="http://127.0.0.1:8000",
        anonymous_role=None,
        proxies=0,
        egress_allow=(),
        log_level="INFO",
        db_pool_size=16,
        web_processes=min(2, len(os.sched_getaffinity(0))),
        prepared_statements=True,
        max_waiters=10_000,
        max_streams=1_000,
        pause_expires_in=86_400,
        retention_days=190,
        checkpoint_event_every=3_600,
        webhook_retry_seconds=(5, 300, 1_800, 7_200, 18_000, 36_000, 36_000),
        webhook_timeout=15,
        mail_url=None,
        encryption_key=None,
        receipt_keys_dir=None,
        oidc=None,
        artifact_roots={},
        run_dir=Path(tempfile.gettempdir()) / f"sagahold-{os.getuid()}",
        llm_retry_enabled=True,
        llm_retry_max_attempts=3,
        llm_retry_base_delay=1.0,
        llm_retry_max_delay=60.0,
        tracing=False,
        host_rules=HostRules(),
    )


def test_secrets_in_files(tmp_path: Path) -> None:
    """Each secret may come from a file, whose last line may end; the variable itself wins."""
    file = tmp_path / "secret"
    file.write_text("postgresql://u:filed@db/sagahold\n")
    environ = {"DATABASE_URL_FILE": str(file), "REDIS_URL": NEEDED["REDIS_URL"]}
    assert load(environ).database_url == "postgresql+psycopg2://u:filed@db/sagahold"
    assert loaded(DATABASE_URL_FILE=str(file)).database_url == "postgresql+psycopg2://u:secret@db/sagahold"
    found = with_secrets({f"{name}_FILE": str(file) for name in SECRETS})
    assert {found[name] for name in SECRETS} == {"postgresql://u:filed@db/sagahold"}
    for content, wrong in ((b" \n", "is empty"), (b"\xff", "is not a text file in UTF-8")):
        file.write_bytes(content)
        with pytest.raises(SettingsError, match=rf"^DATABASE_URL_FILE: '{re.escape(str(file))}' {wrong}$"):
            load(environ)
    file.unlink()
    with pytest.raises(SettingsError, match=r"^DATABASE_URL_FILE: cannot read '.*': No such file or directory$"):
        load(environ)


def test_the_keys_that_sign_receipts(tmp_path: Path) -> None:
    found = loaded(SAGAHOLD_ENCRYPTION_KEY="k" * 32, SAGAHOLD_RECEIPT_KEYS_DIR=str(tmp_path))
    assert (found.encryption_key, found.receipt_keys_dir) == ("k" * 32, tmp_path)
    for bad in ("secret" * 5, "secret " * 9, "sécret" * 9, "secret" * 6 + "\n"):
        with pytest.raises(SettingsError, match=r"^SAGAHOLD_ENCRYPTION_KEY: is not 32 or more .*openssl") as refused:
            loaded(SAGAHOLD_ENCRYPTION_KEY=bad)
        assert "cret" not in str(refused.value)


def test_folders_of_what_manifests_refer_to(tmp_path: Path) -> None:
    found = loaded(SAGAHOLD_PROMPTS_ROOT=str(tmp_path), SAGAHOLD_SCHEMAS_ROOT=str(tmp_path), SAGAHOLD_POLICIES_ROOT="")
    assert found.artifact_roots == {"prompt": tmp_path, "output_schema": tmp_path}
    with pytest.raises(SettingsError, match=r"^SAGAHOLD_COMPENSATIONS_ROOT: '.*/none' is not a folder$"):
        loaded(SAGAHOLD_COMPENSATIONS_ROOT=f"{tmp_path}/none")


def test_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        loaded().port = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("name", "text", "field", "value"),
    [
        ("DATABASE_URL", "postgres://db/x", "database_url", "postgresql+psycopg2://db/x"),
        ("DATABASE_URL", "postgresql+psycopg2:///x?host=/run", "database_url", "postgresql+psycopg2:///x?host=/run"),
        (
            "DATABASE_URL",
            "postgresql://u:p%40@a,[::1]:1/x?sslmode=require",
            "database_url",
            "postgresql+psycopg2://u:p%40@/x?sslmode=require&host=a%2C%3A%3A1&port=5432%2C1&target_session_attrs=read-write",
        ),
        (
            "DATABASE_URL",
            "postgresql:///x?host=/a,/b",
            "database_url",
            "postgresql+psycopg2:///x?host=%2Fa%2C%2Fb&target_session_attrs=read-write",
        ),
        (
            "DATABASE_URL",
            "postgresql://a:1,b:2/x?target_session_attrs=primary",
            "database_url",
            "postgresql+psycopg2:///x?target_session_attrs=primary&host=a%2Cb&port=1%2C2",
        ),
        ("REDIS_URL", "unix:///run/redis.sock?db=1", "redis_url", "unix:///run/redis.sock?db=1"),
        ("REDIS_URL", "rediss://cache/0", "redis_url", "rediss://cache/0"),
        ("SAGAHOLD_HOST", "0.0.0.0", "public_url", "http://127.0.0.1:8000"),
        ("SAGAHOLD_HOST", "::", "public_url", "http://[::1]:8000"),
        ("SAGAHOLD_HOST", "0:0:0:0:0:0:0:0", "public_url", "http://[::1]:8000"),
        ("SAGAHOLD_HOST", "0.0.0.0", "host", "0.0.0.0"),
        ("SAGAHOLD_HOST", "hold-1.example.com", "public_url", "http://hold-1.example.com:8000"),
        ("SAGAHOLD_HOST", "::1", "public_url", "http://[::1]:8000"),
        ("SAGAHOLD_PORT", "9000", "public_url", "http://127.0.0.1:9000"),
        ("SAGAHOLD_PUBLIC_URL", "https://hold.example.com/base/", "public_url", "https://hold.example.com/base"),
        ("SAGAHOLD_ALLOW_ANONYMOUS", "Reviewer", "anonymous_role", "reviewer"),
        ("SAGAHOLD_ALLOW_ANONYMOUS", "", "anonymous_role", None),
        ("SAGAHOLD_EGRESS_ALLOW", "10.1.0.0/16, ::1", "egress_allow", (ip_network("10.1.0.0/16"), ip_network("::1"))),
        ("SAGAHOLD_LOG_LEVEL", "debug", "log_level", "DEBUG"),
        ("SAGAHOLD_DB_POOL_SIZE", "1", "db_pool_size", 1),
        ("SAGAHOLD_PREPARED_STATEMENTS", "false", "prepared_statements", False),
        ("SAGAHOLD_RUN_DIR", "/run/sagahold", "run_dir", Path("/run/sagahold")),
        ("SAGAHOLD_MAX_WAITERS", "100000", "max_waiters", 100_000),
        ("SAGAHOLD_MAX_STREAMS", "20000", "max_streams", 20_000),
        ("SAGAHOLD_PROXIES", "2", "proxies", 2),
        ("SAGAHOLD_PAUSE_EXPIRES_IN", "60", "pause_expires_in", 60),
        ("SAGAHOLD_RETENTION_DAYS", "1", "retention_days", 1),
        ("SAGAHOLD_CHECKPOINT_EVENT_SECONDS", "60", "checkpoint_event_every", 60),
        ("SAGAHOLD_WEBHOOK_RETRY_SECONDS", "0, 1,2", "webhook_retry_seconds", (0, 1, 2)),
        ("SAGAHOLD_WEBHOOK_TIMEOUT", "25", "webhook_timeout", 25),
        ("SAGAHOLD_MAIL_URL", "mailtos://u:p@mail.test?from=a@b.c", "mail_url", "mailtos://u:p@mail.test?from=a@b.c"),
        (
            "SAGAHOLD_STDIO_COMMANDS",
            "/srv/ledger, python3 '/srv/my mail.py'",
            "host_rules",
            HostRules(commands=(("/srv/ledger",), ("python3", "/srv/my mail.py"))),
        ),
        (
            "SAGAHOLD_TOOL_ENV",
            "MAIL_TOKEN, TOOL_, X*",
            "host_rules",
            HostRules(names=frozenset({"MAIL_TOKEN"}), prefixes=("TOOL_", "X")),
        ),
        ("SAGAHOLD_LLM_RETRY_ENABLED", "false", "llm_retry_enabled", False),
        ("SAGAHOLD_LLM_RETRY_MAX_ATTEMPTS", "20", "llm_retry_max_attempts", 20),
        ("SAGAHOLD_LLM_RETRY_BASE_DELAY_S", "0.5", "llm_retry_base_delay", 0.5),
        ("WARDEN_LLM_RETRY_MAX_DELAY_S", "7", "llm_retry_max_delay", 7.0),
    ],
)
def test_accepted(name: str, text: str, field: str, value: Any) -> None:
    assert getattr(loaded(**{name: text}), field) == value


@pytest.mark.parametrize(
    ("name", "text", "part"),
    [
        ("DATABASE_URL", "", "not set"),
        ("DATABASE_URL", "mysql://db/x", "postgresql://"),
        ("DATABASE_URL", "postgresql+psycopg://db/x", "postgresql://"),
        ("DATABASE_URL", "db/x", "postgresql://"),
        ("DATABASE_URL", "postgresql://u:secret@db:port/x", "port"),
        ("DATABASE_URL", "postgresql://u:secret@db:99999/x", "port"),
        ("DATABASE_URL", "postgresql://u:secret@[::1/x", "postgresql://"),
        ("DATABASE_URL", "postgresql://u:secret@a:1,b:x/x", "port"),
        ("DATABASE_URL", "postgresql://a,b/x?target_session_attrs=any", "takes changes will do: read-write"),
        ("DATABASE_URL", "postgresql://a/x?target_session_attrs=standby", "target_session_attrs=standby"),
        ("REDIS_URL", "redis://:secret@cache:port/0", "port"),
        ("REDIS_URL", "redis://:secret@cache/first", "number"),
        ("REDIS_URL", "redis://:secret@[::1/0", "redis://"),
        ("SAGAHOLD_HOST", "0.0.0.0:8000", "address"),
        ("SAGAHOLD_HOST", "http://hold.example.com", "address"),
        ("SAGAHOLD_HOST", "two names", "address"),
        ("SAGAHOLD_HOST", " ", "address"),
        ("SAGAHOLD_WEB_PROCESSES", "many", "whole number"),
        ("SAGAHOLD_WEB_PROCESSES", "0", "1 to"),
        ("SAGAHOLD_RUN_DIR", "run", "absolute path"),
        ("SAGAHOLD_RUN_DIR", __file__, "folder"),
        ("SAGAHOLD_LOCAL_LLM_URL", "localhost:8080/v1", "http(s) URL"),
        ("SAGAHOLD_LOCAL_LLM_URL", "http://u:secret@localhost:port/v1", "http(s) URL"),
        ("SAGAHOLD_OIDC_TRUST_EMAIL", "always", "neither true nor false"),
        ("SAGAHOLD_PUBLIC_URL", "https://hold.example.com:port", "http(s) URL"),
        ("SAGAHOLD_PUBLIC_URL", "https://u:secret@hold.example.com", "without"),
        ("SAGAHOLD_PUBLIC_URL", "https://hold example.com", "http(s) URL"),
        ("SAGAHOLD_OIDC_ISSUER", "https://id.example.com:port", "https URL"),
        ("SAGAHOLD_EGRESS_ALLOW", "10.0.0.0/99", "10.0.0.0/99"),
        ("REDIS_URL", "", "not set"),
        ("REDIS_URL", "http://cache", "redis://"),
        ("REDIS_URL", "redis://a:1,b:2", "Cluster"),
        (
            "REDIS_URL",
            "rediss://:secret@a/0?ssl_ca_certs=/none.pem",
            "cannot read the file '/none.pem' of ssl_ca_certs",
        ),
        ("SAGAHOLD_PORT", "0", "1 to 65535"),
        ("SAGAHOLD_PORT", "65536", "1 to 65535"),
        ("SAGAHOLD_PORT", "8_000", "whole number"),
        ("SAGAHOLD_PORT", "８０００", "whole number"),
        ("SAGAHOLD_PORT", "-1", "whole number"),
        ("SAGAHOLD_PORT", "9" * 5_000, "SAGAHOLD_PORT"),
        ("SAGAHOLD_PUBLIC_URL", "hold.example.com", "http(s) URL"),
        ("SAGAHOLD_PUBLIC_URL", "https://hold.example.com/?x=1", "without query"),
        ("SAGAHOLD_PUBLIC_URL", "https://[::1", "SAGAHOLD_PUBLIC_URL"),
        ("SAGAHOLD_ALLOW_ANONYMOUS", "root", "none of"),
        ("SAGAHOLD_EGRESS_ALLOW", "10.0.0.1/8", "host bits"),
        ("SAGAHOLD_EGRESS_ALLOW", "internal", "internal"),
        ("SAGAHOLD_LOG_LEVEL", "loud", "none of"),
        ("SAGAHOLD_STDIO_COMMANDS", "bin/ledger", "absolute path"),
        ("SAGAHOLD_STDIO_COMMANDS", "ledger '", "SAGAHOLD_STDIO_COMMANDS"),
        ("SAGAHOLD_TOOL_ENV", "DATABASE_URL", "belongs to the service"),
        ("SAGAHOLD_TOOL_ENV", "SAGAHOLD_*", "belongs to the service"),
        ("SAGAHOLD_TOOL_ENV", "*", "neither"),
        ("SAGAHOLD_MAIL_URL", "smtp://mail.test", "mailtos://"),
        ("SAGAHOLD_MAIL_URL", "mailtos://u:p@mail.test?to=a@b.c", "without a recipient"),
        ("SAGAHOLD_MAIL_URL", "mailtos://u:p@mail.test/a@b.c", "without a recipient"),
        ("SAGAHOLD_MAIL_URL", "mailto://[::1", "mailtos://"),
        ("SAGAHOLD_DB_POOL_SIZE", "0", "1 to 200"),
        ("SAGAHOLD_MAX_WAITERS", "0", "1 to 100000"),
        ("SAGAHOLD_MAX_STREAMS", "0", "1 to 20000"),
        ("SAGAHOLD_PROXIES", "yes", "0 to 10"),
        ("SAGAHOLD_PAUSE_EXPIRES_IN", "0", "1 to"),
        ("SAGAHOLD_RETENTION_DAYS", "90 days", "whole number"),
        ("SAGAHOLD_WEBHOOK_RETRY_SECONDS", "5,,6", "whole number"),
        ("SAGAHOLD_WEBHOOK_TIMEOUT", "26", "1 to 25"),
        ("SAGAHOLD_LLM_RETRY_ENABLED", "maybe", "neither true nor false"),
        ("SAGAHOLD_LLM_RETRY_MAX_ATTEMPTS", "0", "1 to 20"),
        ("SAGAHOLD_LLM_RETRY_MAX_DELAY_S", "nan", "0 to 3600"),
        ("WARDEN_LLM_RETRY_ENABLED", "maybe", "neither true nor false"),
        ("WARDEN_LLM_RETRY_MAX_ATTEMPTS", "0", "1 to 20"),
        ("WARDEN_LLM_RETRY_BASE_DELAY_S", "soon", "0 to 3600"),
        ("WARDEN_LLM_RETRY_MAX_DELAY_S", "nan", "0 to 3600"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318", "http(s) URL"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://", "http(s) URL"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://u:secret@[::1", "http(s) URL"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://c:secret/v1/traces", "http(s) URL"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://c\n", "http(s) URL"),
        ("OTEL_TRACES_EXPORTER", "console", "none of"),
    ],
)
def test_refused(name: str, text: str, part: str) -> None:
    """In one line that begins with the variable, without a password."""
    with pytest.raises(SettingsError) as caught:
        loaded(**{name: text})
    message = str(caught.value)
    assert message.startswith(name)
    assert part in message
    assert "\n" not in message
    assert "secret" not in message


def test_every_documented_setting_is_checked_at_start() -> None:
    """Those that take any text are named here."""
    table = (Path(__file__).parents[1] / "docs" / "operations.md").read_text()
    named = set(re.findall(r"`((?:SAGAHOLD|WARDEN)_[A-Z_]+[A-Z])`", table.partition("## Without keys")[0]))
    any_text = {"SAGAHOLD_LOCAL_LLM_KEY", "SAGAHOLD_OIDC_CLIENT_ID", "SAGAHOLD_OIDC_CLIENT_SECRET"}
    # Only `sagahold version --check` reads it.
    of_a_command = {"SAGAHOLD_RELEASES_URL"}
    unchecked = set()
    for name in named - any_text - of_a_command:
        with contextlib.suppress(SettingsError):
            for text in ("\x01 not/a:value", "not/a:value"):
                loaded(**{name: text})
            unchecked.add(name)
    assert unchecked == set()


def test_a_newer_name_goes_before_the_older() -> None:
    found = loaded(SAGAHOLD_LLM_RETRY_MAX_DELAY_S="5", WARDEN_LLM_RETRY_MAX_DELAY_S="no number")
    assert found.llm_retry_max_delay == 5.0
    with pytest.raises(SettingsError, match=r"^SAGAHOLD_LLM_RETRY_MAX_DELAY_S:"):
        loaded(SAGAHOLD_LLM_RETRY_MAX_DELAY_S="no number", WARDEN_LLM_RETRY_MAX_DELAY_S="5")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "hold.example.com"])
def test_anonymous_only_on_loopback(host: str) -> None:
    """Every client that can reach the server could act."""
    with pytest.raises(SettingsError, match="SAGAHOLD_HOST"):
        loaded(SAGAHOLD_HOST=host, SAGAHOLD_ALLOW_ANONYMOUS="agent")
    for loopback in ("127.0.0.1", "127.8.8.8", "::1", "localhost"):
        assert loaded(SAGAHOLD_HOST=loopback, SAGAHOLD_ALLOW_ANONYMOUS="agent").anonymous_role == "agent"


def test_the_identity_provider_is_configured_whole_or_not_at_all() -> None:
    whole = {
        "SAGAHOLD_OIDC_ISSUER": "https://id.example.com/",
        "SAGAHOLD_OIDC_CLIENT_ID": "sagahold",
        "SAGAHOLD_OIDC_CLIENT_SECRET": "a secret",
    }
    oidc = loaded(**whole).oidc
    assert oidc is not None
    assert (oidc.issuer, oidc.client_id, oidc.client_secret) == tuple(whole.values())
    assert loaded().oidc is None
    for name in whole:
        with pytest.raises(SettingsError, match=name):
            loaded(**{**whole, name: ""})
    for issuer in ("http://id.example.com", "id.example.com", "https://"):
        with pytest.raises(SettingsError, match="SAGAHOLD_OIDC_ISSUER"):
            loaded(**{**whole, "SAGAHOLD_OIDC_ISSUER": issuer})
    assert loaded(**{**whole, "SAGAHOLD_OIDC_ISSUER": "http://127.0.0.1:9000"}).oidc is not None


COLLECTOR = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}


@pytest.mark.parametrize(
    ("environ", "wanted"),
    [
        (COLLECTOR, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "https://c.example.com/v1/traces?key=k"}, True),
        (COLLECTOR | {"OTEL_SDK_DISABLED": "True"}, False),
        (COLLECTOR | {"OTEL_TRACES_EXPORTER": "none"}, False),
        (COLLECTOR | {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, True),
        (
            COLLECTOR | {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf"},
            True,
        ),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, False),
    ],
)
def test_spans_are_sent_where_an_endpoint_is_set(environ: dict[str, str], wanted: bool) -> None:
    """By the one protocol that there is: another one set for it would leave a collector waiting."""
    assert loaded(**environ).tracing is wanted
    if environ == COLLECTOR:
        with pytest.raises(SettingsError, match=r"^OTEL_EXPORTER_OTLP_PROTOCOL: 'grpc' is none of HTTP/PROTOBUF$"):
            loaded(**environ, OTEL_EXPORTER_OTLP_PROTOCOL="grpc")


def test_a_bad_value_stops_the_process(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """With status 2 and the one line."""
    for name, value in NEEDED.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("SAGAHOLD_PORT", "http")
    with pytest.raises(SystemExit) as caught:
        load_or_exit()
    assert caught.value.code == 2
    assert capsys.readouterr().err == "sagahold: SAGAHOLD_PORT: 'http' is not a whole number from 1 to 65535\n"
    monkeypatch.setenv("SAGAHOLD_PORT", "80")
    assert load_or_exit().port == 80
