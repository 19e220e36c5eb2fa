"""Rules for new migrations: no step reads a big table while it locks out its readers and writers."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BIG = {
    *("pauses", "sagas", "saga_steps", "audit_events", "webhook_messages", "webhook_deliveries", "webhook_attempts"),
    *("notifications", "idempotency_keys"),
}
# Installations have run the earlier ones, most of them on small tables.
FIRST = "0030"
# The option of each step with which PostgreSQL does not read the table under an exclusive lock.
GENTLE = {
    "create_index": "postgresql_concurrently",
    "drop_index": "postgresql_concurrently",
    "create_check_constraint": "postgresql_not_valid",
    "create_foreign_key": "postgresql_not_valid",
}


def harsh(source: str) -> list[str]:
    """Return the steps of a migration that name a big table, or none, and lack the option."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in GENTLE:
            given = {each.arg for each in node.keywords}
            named = {each.value for each in ast.walk(node) if isinstance(each, ast.Constant) and each.value in BIG}
            literal = len(node.args) > 1 and isinstance(node.args[1], ast.Constant)
            if (named or not literal) and GENTLE[node.func.attr] not in given:
                found.append(f"line {node.lineno}: {node.func.attr} without {GENTLE[node.func.attr]}")
    return found


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
    ],
)
def test_harsh_steps_are_found(step: str, is_harsh: bool) -> None:
    assert bool(harsh(step)) == is_harsh


def test_new_migrations_let_others_read_and_write() -> None:
    new = [path for path in sorted((ROOT / "migrations/versions").glob("0*.py")) if path.name[:4] >= FIRST]
    assert new
    assert {path.name: steps for path in new if (steps := harsh(path.read_text()))} == {}
