"""Rules for migrations: no step reads a big table while it locks out its readers and writers."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BIG = {
    *("pauses", "sagas", "saga_steps", "audit_events", "webhook_messages", "webhook_deliveries", "webhook_attempts"),
    *("notifications", "idempotency_keys"),
}
# The option of each step with which PostgreSQL does not read the table under an exclusive lock; None if there is none.
# `migrations.online` has the gentle steps.
GENTLE = {
    "create_index": "postgresql_concurrently",
    "drop_index": "postgresql_concurrently",
    "create_check_constraint": "postgresql_not_valid",
    "create_foreign_key": "postgresql_not_valid",
    "create_unique_constraint": None,
}


def harsh(source: str) -> list[str]:
    """Return the steps of an upgrade that name a big table of an earlier migration, or none, and lack the option."""
    found = []
    body = [node for node in ast.parse(source).body if getattr(node, "name", "") != "downgrade"]
    steps = [node for part in body for node in ast.walk(part) if isinstance(node, ast.Call) and _verb(node)]
    new = {_names(step.args[0]) for step in steps if _verb(step) == "create_table"}
    for step in steps:
        if (verb := _verb(step)) not in GENTLE:
            continue
        table = _names(step.args[1]) if len(step.args) > 1 else ""
        given = {each.arg for each in step.keywords}
        if table not in new and (table in BIG or not table) and GENTLE[verb] not in given:
            found.append(f"line {step.lineno}: {verb} without {GENTLE[verb]}")
    return found


def _verb(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else ""


def _names(argument: ast.expr) -> str:
    """Return the table that the argument names, or "" if only the run knows it."""
    return str(argument.value) if isinstance(argument, ast.Constant) else ""


@pytest.mark.parametrize(
    ("step", "is_harsh"),
    [
        ('op.create_index("ix", "pauses", ["door"])', True),
        ('op.create_index("ix", "pauses", ["door"], postgresql_concurrently=True)', False),
        ("op.create_index(name, table, columns)", True),
        ('op.create_index("ix", "users", ["name"])', False),
        ('op.create_check_constraint("ck", "sagas", "true")', True),
        ('op.create_check_constraint("ck", "sagas", "true", postgresql_not_valid=True)', False),
        ('op.drop_index("ix", "pauses")', True),
        ('op.create_unique_constraint("uq", "pauses", ["door"])', True),
        ('op.create_table("pauses")\nop.create_index("ix", "pauses", ["door"])', False),
        ('def downgrade():\n    op.drop_index("ix", "pauses")', False),
    ],
)
def test_harsh_steps_are_found(step: str, is_harsh: bool) -> None:
    assert bool(harsh(step)) == is_harsh


def test_migrations_let_others_read_and_write() -> None:
    steps = [*sorted((ROOT / "migrations/versions").glob("0*.py")), ROOT / "migrations/online.py"]
    assert {path.name: found for path in steps if (found := harsh(path.read_text()))} == {}
