"""Environment variables in other systems' syntax are refused, with the syntax to write instead."""

import pytest

from domain.manifests.definition import ToolSource, Transport
from domain.manifests.variable_syntax import field_errors


def _program(command: str, *args: str) -> dict[str, str]:
    source = ToolSource("t", Transport.STDIO, command=command, args=args)
    return {field_error.path: field_error.message for field_error in field_errors(source)}


@pytest.mark.parametrize("command", ["pwsh", "/usr/bin/pwsh", "PowerShell.exe"])
def test_powershell_reads_its_own_variables(command: str) -> None:
    assert _program(command, "-c", "$env:TOKEN; $Env:PATH") == {}
    assert _program(command, "${{ env.TOKEN }}") == {
        "args[0]": "has ${{ env.TOKEN }}, which is not replaced: write ${ENV:TOKEN}"
    }


@pytest.mark.parametrize("command", ["sh", "/srv/pwsh/ledger"])
def test_no_other_program_does(command: str) -> None:
    assert _program(command, "-c", "$env:TOKEN") == {
        "args[1]": "has $env:TOKEN, which is not replaced: write ${ENV:TOKEN}"
    }
