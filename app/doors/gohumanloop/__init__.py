"""GoHumanLoop: approvals, questions and conversations of its Python client."""
