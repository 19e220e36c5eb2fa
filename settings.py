"""Settings from the environment: parsed and checked once, before anything listens.

A bad value stops the process with one line that names the variable. Only entry points import this module (`wsgi`,
`celeryconfig`, `tasks.runtime`, `cli`, `migrations/env`). They pass values on to everything else.
"""

import ipaddress
import os
import re
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn, TypeVar
from urllib.parse import urlsplit

from domain.manifests.host_access import HostRules, commands_of, names_of
from domain.values import redis_address, server_urls
from domain.values.network import is_loopback, reached

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
T = TypeVar("T")

DAY = 86_400
# The schedule that Standard Webhooks recommends: seconds from one attempt to the next.
WEBHOOK_RETRY_SECONDS = (5, 300, 1_800, 7_200, 18_000, 36_000, 36_000)

# Folders of files that manifests refer to: from the manifest's field to the part of the variable's name.
ARTIFACT_ROOTS = {
    "prompt": "PROMPTS",
    "policy": "POLICIES",
    "output_schema": "SCHEMAS",
    "compensation": "COMPENSATIONS",
}


# With `_FILE` after its name, each is read from a file. Docker and Kubernetes mount secrets as files, because children
# and crash reports get copies of the environment.
SECRETS = (
    "DATABASE_URL",
    "REDIS_URL",
    "SAGAHOLD_ENCRYPTION_KEY",
    "SAGAHOLD_MAIL_URL",
    "SAGAHOLD_OIDC_CLIENT_SECRET",
    "OPENAI_API_KEY",
    "ANTHROPIC_API_KEY",
    "SAGAHOLD_LOCAL_LLM_KEY",
)


class SettingsError(Exception):
    """An environment variable is missing or has an invalid value."""


@dataclass(frozen=True, slots=True)
class Oidc:
    issuer: str
    client_id: str
    client_secret: str
    trust_email: bool = False
    groups_claim: str | None = None


@dataclass(frozen=True, slots=True)
class Settings:
    database_url: str
    redis_url: str
    host: str
    port: int
    public_url: str
    anonymous_role: str | None
    proxies: int
    oidc: Oidc | None
    egress_allow: tuple[Network, ...]
    log_level: str
    db_pool_size: int
    web_processes: int
    prepared_statements: bool
    max_waiters: int
    max_streams: int
    pause_expires_in: int
    retention_days: int
    # Seconds between two checkpoints of the audit log that are kept and sent as webhook events.
    checkpoint_event_every: int
    webhook_retry_seconds: tuple[int, ...]
    webhook_timeout: int
    mail_url: str | None
    # Encrypts the keys that sign receipts, and the tokens of callbacks; None stores them as they are.
    encryption_key: str | None = field(repr=False)
    # The folder for these keys; None is the database.
    receipt_keys_dir: Path | None
    artifact_roots: Mapping[str, Path]
    # The folder for the file with a worker's name.
    run_dir: Path
    llm_retry_enabled: bool
    llm_retry_max_attempts: int
    llm_retry_base_delay: float
    llm_retry_max_delay: float
    tracing: bool
    host_rules: HostRules


def load(environ: Mapping[str, str] = os.environ) -> Settings:
    """Read all settings. Raise `SettingsError` with one line that names the variable."""
    get = _Reader(with_secrets(environ))
    host = get("SAGAHOLD_HOST", _host, "127.0.0.1")
    port = get("SAGAHOLD_PORT", _whole(1, 65_535), "8000")
    public_url = get("SAGAHOLD_PUBLIC_URL", server_urls.public_url, f"http://{_bracketed(reached(host))}:{port}")
    # The number of proxies in front of `web`. As many addresses at the end of X-Forwarded-For are trusted.
    proxies = get("SAGAHOLD_PROXIES", _whole(0, 10), "0")
    # Only checked here: workers read it when a step runs, with the providers' keys.
    get("SAGAHOLD_LOCAL_LLM_URL", server_urls.model_url, "")
    return Settings(
        database_url=get("DATABASE_URL", server_urls.database_url),
        redis_url=get("REDIS_URL", _redis_url),
        host=host,
        port=port,
        public_url=public_url,
        anonymous_role=get("SAGAHOLD_ALLOW_ANONYMOUS", lambda text: _anonymous(text, host, public_url, proxies), ""),
        proxies=proxies,
        oidc=_oidc(get),
        egress_allow=get("SAGAHOLD_EGRESS_ALLOW", _networks, ""),
        log_level=get("SAGAHOLD_LOG_LEVEL", _one_of("DEBUG", "INFO", "WARNING", "ERROR"), "INFO"),
        # Connections per process. A request holds one for about a millisecond, so a few serve many threads.
        db_pool_size=get("SAGAHOLD_DB_POOL_SIZE", _whole(1, 200), "16"),
        # On two cores, two answered 1.4 times as many requests as one. Each has a pool of connections, and PostgreSQL's
        # default of 100 leaves no room for more of them beside several workers.
        web_processes=get("SAGAHOLD_WEB_PROCESSES", _whole(1, 1_000), str(min(2, _usable_cores()))),
        # Off for a pooler that gives a connection's session to other clients between two transactions.
        prepared_statements=get("SAGAHOLD_PREPARED_STATEMENTS", _yes, "true"),
        # Long polls and streams per web process. A long poll costs about 10 kB and no thread.
        max_waiters=get("SAGAHOLD_MAX_WAITERS", _whole(1, 100_000), "10000"),
        # Those of them that need a thread. `sagahold web` starts the server with 100 threads more than this.
        max_streams=get("SAGAHOLD_MAX_STREAMS", _whole(1, 20_000), "1000"),
        pause_expires_in=get("SAGAHOLD_PAUSE_EXPIRES_IN", _whole(1, 3_650 * DAY), str(DAY)),
        # A few days more than the six months of Article 26(6) of the EU AI Act.
        retention_days=get("SAGAHOLD_RETENTION_DAYS", _whole(1, 36_500), "190"),
        checkpoint_event_every=get("SAGAHOLD_CHECKPOINT_EVENT_SECONDS", _whole(1, 365 * DAY), "3600"),
        webhook_retry_seconds=get(
            "SAGAHOLD_WEBHOOK_RETRY_SECONDS", _seconds, ",".join(map(str, WEBHOOK_RETRY_SECONDS))
        ),
        webhook_timeout=get("SAGAHOLD_WEBHOOK_TIMEOUT", _whole(1, 25), "15"),
        mail_url=get("SAGAHOLD_MAIL_URL", server_urls.mail_url, ""),
        encryption_key=get("SAGAHOLD_ENCRYPTION_KEY", _encryption_key, ""),
        receipt_keys_dir=get("SAGAHOLD_RECEIPT_KEYS_DIR", _folder, ""),
        run_dir=get("SAGAHOLD_RUN_DIR", _run_dir, str(Path(tempfile.gettempdir()) / f"sagahold-{os.getuid()}")),
        artifact_roots={
            name: root
            for name, variable in ARTIFACT_ROOTS.items()
            if (root := get(f"SAGAHOLD_{variable}_ROOT", _folder, "")) is not None
        },
        llm_retry_enabled=get("SAGAHOLD_LLM_RETRY_ENABLED", _yes, "true"),
        llm_retry_max_attempts=get("SAGAHOLD_LLM_RETRY_MAX_ATTEMPTS", _whole(1, 20), "3"),
        llm_retry_base_delay=get("SAGAHOLD_LLM_RETRY_BASE_DELAY_S", _delay, "1"),
        llm_retry_max_delay=get("SAGAHOLD_LLM_RETRY_MAX_DELAY_S", _delay, "60"),
        tracing=_tracing(get),
        host_rules=_host_rules(get),
    )


def _usable_cores() -> int:
    # macOS has no affinity.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def with_secrets(environ: Mapping[str, str]) -> Mapping[str, str]:
    """Return the environment with the contents of the files that `…_FILE` names, without the blanks around them.

    A variable that is set itself wins over its file. Raise `SettingsError` for a file that is empty or unreadable.
    """
    given = {name: path for name in SECRETS if (path := environ.get(f"{name}_FILE")) and not environ.get(name)}
    return {**environ, **{name: _secret(f"{name}_FILE", path) for name, path in given.items()}}


def _secret(name: str, path: str) -> str:
    try:
        text = Path(path).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise SettingsError(f"{name}: cannot read {path!r}: {error.strerror}") from None
    except ValueError:
        raise SettingsError(f"{name}: {path!r} is not a text file in UTF-8") from None
    if not text:
        raise SettingsError(f"{name}: {path!r} is empty")
    return text


def _oidc(get: "_Reader") -> Oidc | None:
    """Read the identity provider's settings: all three of them, or none."""
    trust = get("SAGAHOLD_OIDC_TRUST_EMAIL", _yes, "false")
    names = [f"SAGAHOLD_OIDC_{name}" for name in ("ISSUER", "CLIENT_ID", "CLIENT_SECRET")]
    found = [get(names[0], server_urls.issuer_url, ""), *(get(name, str, "") for name in names[1:])]
    if not any(found):
        return None
    for name, value in zip(names, found, strict=True):
        if not value:
            raise SettingsError(f"{name} is not set, but {' and '.join(n for n in names if n != name)} go with it")
    claim = get("SAGAHOLD_OIDC_GROUPS_CLAIM", str.strip, "") or None
    issuer, client_id, client_secret = found
    return Oidc(issuer, client_id, client_secret, trust, claim)


def _tracing(get: "_Reader") -> bool:
    """Return whether spans are sent. OpenTelemetry's SDK reads the rest from the environment itself."""
    endpoints = [get(f"OTEL_EXPORTER_OTLP_{part}ENDPOINT", server_urls.collector_url, "") for part in ("TRACES_", "")]
    sent_by = get("OTEL_TRACES_EXPORTER", _one_of("OTLP", "NONE"), "otlp")
    if not any(endpoints) or sent_by == "NONE" or get("OTEL_SDK_DISABLED", str.lower, "") == "true":
        return False
    names = (f"OTEL_EXPORTER_OTLP_{part}PROTOCOL" for part in ("TRACES_", ""))
    if said := next((name for name in names if get(name, str, "")), None):
        get(said, _one_of("HTTP/PROTOBUF"))
    return True


def _host_rules(get: "_Reader") -> HostRules:
    names = get("SAGAHOLD_TOOL_ENV", names_of, "")
    return HostRules(
        commands=get("SAGAHOLD_STDIO_COMMANDS", commands_of, ""),
        names=frozenset(name for name in names if not name.endswith(("_", "*"))),
        prefixes=tuple(name.rstrip("*") for name in names if name.endswith(("_", "*"))),
    )


def load_or_exit(environ: Mapping[str, str] = os.environ) -> Settings:
    """Load the settings for an entry point. On an error print its line and end the process with status 2."""
    try:
        return load(environ)
    except SettingsError as error:
        _stop(str(error))


def _stop(line: str) -> NoReturn:
    print(f"sagahold: {line}", file=sys.stderr)
    raise SystemExit(2)


class _Reader:
    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    def __call__(self, name: str, parse: Callable[[str], T], default: str | None = None) -> T:
        text = self._environ.get(name, "")
        if not text:
            # The older names of these settings still work.
            older = name.replace("SAGAHOLD_LLM_RETRY_", "WARDEN_LLM_RETRY_")
            if text := self._environ.get(older, ""):
                name = older
        if not text:
            if default is None:
                raise SettingsError(f"{name} is not set (`sagahold up` starts a stack that sets it)")
            text = default
        try:
            return parse(text)
        except ValueError as error:
            raise SettingsError(f"{name}: {error}") from None


def _whole(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not text.isascii() or not text.isdigit() or not low <= int(text) <= high:
            raise ValueError(f"{text!r} is not a whole number from {low} to {high}")
        return int(text)

    return parse


def _yes(text: str) -> bool:
    words = {"true": True, "1": True, "false": False, "0": False}
    if text.lower() not in words:
        raise ValueError(f"{text!r} is neither true nor false")
    return words[text.lower()]


def _delay(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1
    # This comparison rejects NaN as well.
    if not 0 <= seconds <= 3_600:
        raise ValueError(f"{text!r} is not a number of seconds from 0 to 3600")
    return seconds


def _one_of(*words: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text.upper() not in words:
            raise ValueError(f"{text!r} is none of {', '.join(words)}")
        return text.upper()

    return parse


def _encryption_key(text: str) -> str | None:
    """Check the key. Errors never show it."""
    if not text:
        return None
    if not re.fullmatch(r"[\x21-\x7e]{32,1000}", text):
        raise ValueError("is not 32 or more printable characters without blanks: `openssl rand -base64 32` makes one")
    return text


def _folder(text: str) -> Path | None:
    if not text:
        return None
    if not Path(text).is_dir():
        raise ValueError(f"{text!r} is not a folder")
    return Path(text)


def _run_dir(text: str) -> Path:
    """Check the folder. A worker creates it if it is missing."""
    found = Path(text)
    if not found.is_absolute():
        raise ValueError(f"{text!r} is not an absolute path")
    if found.exists() and not found.is_dir():
        raise ValueError(f"{text!r} is not a folder")
    return found


def _redis_url(text: str) -> str:
    """Check the URL and that its files can be read. Errors never show it, because it may have a password."""
    tls = redis_address.parse(text).tls or {}
    for name in redis_address.TLS_FILES:
        path = tls.get(name)
        if path is not None and not os.access(str(path), os.R_OK):
            raise ValueError(f"cannot read the file {path!r} of {name}")
    return text


def _networks(text: str) -> tuple[Network, ...]:
    return tuple(ipaddress.ip_network(part.strip()) for part in text.split(",") if part.strip())


def _seconds(text: str) -> tuple[int, ...]:
    return tuple(_whole(0, 30 * DAY)(part.strip()) for part in text.split(","))


def _anonymous(text: str, host: str, public_url: str, proxies: int) -> str | None:
    if not text:
        return None
    role = _one_of("AGENT", "REVIEWER", "OPERATOR", "ADMIN")(text).lower()
    if not is_loopback(host):
        raise ValueError(f"allowed only for a server bound to loopback, but SAGAHOLD_HOST is {host}")
    if proxies or not is_loopback(urlsplit(public_url).hostname or ""):
        raise ValueError(
            "allowed only without a proxy, but SAGAHOLD_PUBLIC_URL or SAGAHOLD_PROXIES names one."
            " Anyone who reaches the proxy would need no key either"
        )
    return role


def _host(text: str) -> str:
    host = text.strip()
    try:
        ipaddress.ip_address(host)
    except ValueError:
        if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?\.?", host):
            raise ValueError(f"{text!r} is neither an IP address nor a host name") from None
    return host


def links_lead_to_loopback(settings: Settings) -> bool:
    """Return whether other machines reach the server but its links lead to loopback, and so to themselves."""
    return not is_loopback(settings.host) and is_loopback(urlsplit(settings.public_url).hostname or "")


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
