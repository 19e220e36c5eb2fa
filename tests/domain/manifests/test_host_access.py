"""The parts of a worker's machine that a tool source may use, by its deployer's access and the operator's lists."""

from dataclasses import replace
from typing import Any

import pytest

from domain.manifests.definition import ToolSource, Transport
from domain.manifests.host_access import HostRules, commands_of, names_of

PROGRAM = ToolSource("t", Transport.STDIO, command="/srv/ledger")
WEB = ToolSource("t", Transport.STREAMABLE_HTTP, url="https://mail.test/mcp")
LISTED = HostRules(commands=(("/srv/ledger",), ("python3", "/srv/mail.py")))
NAMED = HostRules(names=frozenset({"MAIL_TOKEN", "OPENAI_API_KEY"}), prefixes=("TOOL_",))


def places(rules: HostRules, source: ToolSource, **changes: Any) -> list[str]:
    return [field_error.path for field_error in rules.field_errors(replace(source, **changes))]


def test_without_a_list_only_an_admin_of_all_namespaces_starts_programs() -> None:
    assert places(HostRules(), PROGRAM) == []
    assert places(HostRules(), PROGRAM, scoped=True) == ["command"]
    assert places(HostRules(), WEB, scoped=True) == []


@pytest.mark.parametrize("scoped", [False, True])
@pytest.mark.parametrize(
    ("command", "args", "allowed"),
    [
        ("/srv/ledger", (), True),
        ("/srv/ledger", ("--anything",), True),
        ("python3", ("/srv/mail.py", "--verbose"), True),
        ("python3", ("-c", "/srv/mail.py"), False),
        ("python3", ("-c", "import os", "/srv/mail.py"), False),
        ("python3", (), False),
        ("ledger", (), False),
        ("./ledger", (), False),
        ("/srv/../srv/ledger", (), False),
        ("/srv/ledger ", (), False),
        ("sh", ("-c", "/srv/ledger"), False),
        ("env", ("/srv/ledger",), False),
        ("${ENV:HOME}", (), False),
    ],
)
def test_a_listed_command_is_that_one_and_no_other(
    scoped: bool, command: str, args: tuple[str, ...], allowed: bool
) -> None:
    found = places(LISTED, PROGRAM, command=command, args=args, scoped=scoped)
    assert found == ([] if allowed else ["command"])


@pytest.mark.parametrize(
    "name",
    ["LD_PRELOAD", "PATH", "PYTHONPATH", "PYTHONSTARTUP", "NODE_OPTIONS", "BASH_ENV", "npm_config_prefix", "ENV"],
)
def test_a_listed_program_is_not_turned_into_another_one(name: str) -> None:
    assert places(LISTED, PROGRAM, env={name: "x"}, scoped=True) == [f"env.{name}"]
    assert places(LISTED, PROGRAM, env={name: "x"}) == []


def test_the_listed_words_mean_the_same_files_everywhere() -> None:
    mail = {"command": "python3", "args": ("/srv/mail.py",)}
    assert places(LISTED, PROGRAM, cwd="/tmp", scoped=True) == []
    assert places(LISTED, PROGRAM, cwd="/tmp", scoped=True, **mail) == ["cwd"]
    assert places(LISTED, PROGRAM, cwd="/tmp", **mail) == []


@pytest.mark.parametrize("name", ["LEDGER", "REGION", "RATE_LIMIT", "TOKEN", "LOG_LEVEL", "GOAL"])
def test_a_scoped_admin_gives_a_listed_program_its_settings(name: str) -> None:
    assert places(LISTED, PROGRAM, env={name: "x"}, scoped=True) == []


@pytest.mark.parametrize("rules", [HostRules(), NAMED, HostRules(prefixes=("",))])
@pytest.mark.parametrize("scoped", [False, True])
@pytest.mark.parametrize(
    "name",
    [
        "DATABASE_URL",
        "REDIS_URL",
        "SAGAHOLD_MAIL_URL",
        "SAGAHOLD_OIDC_CLIENT_SECRET",
        "SAGAHOLD_LOCAL_LLM_KEY",
        "WARDEN_LLM_RETRY_ENABLED",
        "OTEL_EXPORTER_OTLP_HEADERS",
        "PGPASSWORD",
        "ANTHROPIC_API_KEY",
    ],
)
def test_the_services_own_variables_are_read_by_nobody(rules: HostRules, scoped: bool, name: str) -> None:
    reference = f"Bearer ${{ENV:{name}}}"
    assert places(rules, WEB, url=f"https://x/{reference}", scoped=scoped) == ["url"]
    assert places(rules, WEB, headers={"A": reference}, scoped=scoped) == ["headers.A"]
    listed = replace(rules, commands=(("/srv/ledger",),))
    for changes, place in (
        ({"args": ("a", reference)}, "args[1]"),
        ({"cwd": reference}, "cwd"),
        ({"env": {"A": reference}}, "env.A"),
        ({"env_inherit": ("PATH", name)}, "env_inherit[1]"),
    ):
        assert places(listed, PROGRAM, scoped=scoped, **changes) == [place]


@pytest.mark.parametrize(
    ("rules", "name", "by_all", "by_scoped"),
    [
        (HostRules(), "PATH", True, True),
        (HostRules(), "MAIL_TOKEN", True, False),
        (NAMED, "MAIL_TOKEN", True, True),
        (NAMED, "MAIL_TOKEN_2", False, False),
        (NAMED, "TOOL_KEY", True, True),
        (NAMED, "OTHER", False, False),
        (NAMED, "OPENAI_API_KEY", True, True),
    ],
)
def test_other_variables_are_read_where_the_operator_names_them(
    rules: HostRules, name: str, by_all: bool, by_scoped: bool
) -> None:
    reference = {"A": f"${{ENV:{name}}}"}
    assert (places(rules, WEB, headers=reference) == []) is by_all
    assert (places(rules, WEB, headers=reference, scoped=True) == []) is by_scoped


def test_the_operators_list_of_commands() -> None:
    assert commands_of(" python3 '/srv/my mail.py', /srv/ledger,, ") == (
        ("python3", "/srv/my mail.py"),
        ("/srv/ledger",),
    )
    assert commands_of("") == ()
    for text, part in (("bin/ledger", "'bin/ledger' is neither a name on PATH"), ("a 'b", "No closing quotation")):
        with pytest.raises(ValueError, match=part):
            commands_of(text)


def test_the_operators_list_of_variables() -> None:
    assert names_of(" MAIL_TOKEN, TOOL_*,, OPENAI_API_KEY") == ("MAIL_TOKEN", "TOOL_*", "OPENAI_API_KEY")
    assert names_of("") == ()
    for name in ("A-B", "1A", "*", "A*B"):
        with pytest.raises(ValueError, match="is neither the name of a variable nor a prefix"):
            names_of(f"MAIL_TOKEN,{name}")
    for name in ("DATABASE_URL", "SAGAHOLD_MAIL_URL"):
        with pytest.raises(ValueError, match=f"{name} belongs to the service itself"):
            names_of(name)
