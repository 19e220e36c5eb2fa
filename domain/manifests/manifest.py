"""The parser of manifests. It reports all errors at once, each with its place.

The same parser reads a manifest at deployment, and the frozen one from the database when a saga runs. There it notes
what a newer release has written, and does not refuse the whole manifest.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from domain.identity.access import DEFAULT_NAMESPACE, is_namespace
from domain.manifests import bindings, cel
from domain.manifests.definition import Adapter, SagaDefinition, StepDefinition, ToolSource, Transport, WorkerDefinition
from domain.manifests.reasoning_parser import DEFAULT_SCHEMA, schema_for
from domain.manifests.step_parser import VisibleSteps, read_step
from domain.values import canonical_json, json_schema
from domain.values.errors import FieldError, InvalidManifest, NotUnderstood
from domain.values.field_reader import FieldErrors, FieldReader

PROVIDERS = ("openai", "anthropic", "local", "mock")
KINDS = ("worker", "saga")
# Other systems name their agent runtime this way. Sagahold has only one, so the field has no effect.
RUNTIME = "langchain"
MAX_STEPS = 100
MAX_TOOL_SOURCES = 20
# Characters of a prompt in a worker.
MAX_PROMPT = 65_536
# Bytes of a frozen definition with everything that it refers to. Each process that runs it keeps it in memory.
MAX_BYTES = 1024 * 1024
_HTTP_URL = re.compile(r"(https?://|\$\{ENV:)\S+")


def parse(document: object) -> WorkerDefinition | SagaDefinition:
    """Parse a frozen manifest of either kind. Raises `InvalidManifest` with all errors."""
    definition, field_errors = read(document)
    if field_errors or definition is None:
        raise InvalidManifest(field_errors)
    return definition


def parse_worker(document: object) -> WorkerDefinition:
    """Parse a worker's manifest. Raises `InvalidManifest`, also for a saga's manifest."""
    found = parse(document)
    if not isinstance(found, WorkerDefinition):
        raise InvalidManifest([FieldError("kind", "must be worker")])
    return found


def parse_saga(document: object) -> SagaDefinition:
    """Parse a saga's manifest. Raises `InvalidManifest`, also for a worker's manifest."""
    found = parse(document)
    if not isinstance(found, SagaDefinition):
        raise InvalidManifest([FieldError("kind", "must be saga")])
    return found


def stored(document: object) -> WorkerDefinition | SagaDefinition:
    """Parse a stored manifest as far as this version understands it, because a newer release may have deployed it.

    Raises `NotUnderstood` if the manifest cannot even be shown.
    """
    field_errors = FieldErrors(stored=True)
    definition = _definition(field_errors, document) if isinstance(document, dict) else None
    if definition is None:
        raise NotUnderstood("a newer release deployed this manifest, whose kind this release does not know: upgrade it")
    places = (*(field_error.path for field_error in field_errors.found), *(field_errors.unknown or ()))
    return replace(definition, unreadable=places) if places else definition


def read(document: object) -> tuple[WorkerDefinition | SagaDefinition | None, list[FieldError]]:
    """Return the definition and all errors. A definition with errors is not usable."""
    if not isinstance(document, dict):
        return None, [FieldError("", "is not an object of the kind worker or saga")]
    if found := list(canonical_json.field_errors(document, "")):
        return None, found
    if canonical_json.size(document) > MAX_BYTES:
        return None, [FieldError("", f"must be at most {MAX_BYTES // 1024} KiB with everything that it refers to")]
    field_errors = FieldErrors()
    return _definition(field_errors, document), field_errors.found


def _definition(field_errors: FieldErrors, document: dict[str, Any]) -> WorkerDefinition | SagaDefinition | None:
    kind = document.get("kind")
    if kind == "worker":
        return _worker(FieldReader(field_errors, "", document))
    if kind == "saga":
        return _saga(FieldReader(field_errors, "", document))
    field_errors.add("kind", f"is not one of {', '.join(KINDS)}")
    return None


def _worker(fields: FieldReader) -> WorkerDefinition:
    with fields:
        provider = fields.text("provider")
        model_name = fields.text("model_name", most=200)
        if provider is not None and provider not in PROVIDERS:
            fields.field_error("provider", f"is not one of {', '.join(PROVIDERS)}")
        if provider not in (None, "mock") and model_name is None:
            fields.field_error("model_name", f"is missing: name one of the models of the provider {provider}")
        if (fields.text("adapter") or RUNTIME) != RUNTIME:
            fields.field_error("adapter", f"is not {RUNTIME}, the only value allowed: leave it out")
        sources = tuple(_tool_source(source) for source in fields.objects("tool_sources"))
        if len(sources) > MAX_TOOL_SOURCES:
            fields.field_error("tool_sources", f"has more than {MAX_TOOL_SOURCES} items")
        _tell_repeated(fields, "tool_sources", "name", [source.name for source in sources])
        temperature = fields.number("temperature", 0, 2)
        return WorkerDefinition(
            **_head(fields),
            provider=provider,
            model_name=model_name,
            temperature=0.0 if temperature is None else temperature,
            system_prompt=fields.text("system_prompt", most=MAX_PROMPT),
            compensation_prompt=fields.text("compensation_prompt", most=MAX_PROMPT),
            tool_sources=sources,
        )


def _saga(fields: FieldReader) -> SagaDefinition:
    with fields:
        head = _head(fields)
        ids = [item.get("id") for item in fields.items("steps", required=True) if isinstance(item, dict)]
        known = tuple(name for name in ids if isinstance(name, str))
        steps: list[StepDefinition] = []
        for step in fields.objects("steps"):
            steps.append(read_step(step, VisibleSteps(known, tuple(before.id for before in steps))))
        if not 1 <= len(steps) <= MAX_STEPS and fields.has("steps"):
            fields.field_error("steps", f"must have 1 to {MAX_STEPS} steps")
        _tell_repeated(fields, "steps", "id", [step.id for step in steps])
        return SagaDefinition(**head, steps=_with_answers(steps), input_schema=_input_schema(fields))


def _with_answers(steps: list[StepDefinition]) -> tuple[StepDefinition, ...]:
    """Complete omitted output schemas: a step with tools answers with the fields that later steps read."""
    users = [user for step in steps for user in (step, step.undo) if user is not None]
    paths = [binding.path for user in users for binding in user.bindings.values() if binding.path is not None]
    read: list[tuple[str | int, ...]] = [bindings.names_of(path) for path in paths]
    read += [keys for step in steps for keys in cel.reads(step.when or "", ("steps",))]
    return tuple(_with_answer(step, read) for step in steps)


def _with_answer(step: StepDefinition, read: list[tuple[str | int, ...]]) -> StepDefinition:
    reasoning, place = step.reasoning, ("steps", step.id, "output", "data")
    if reasoning is None or reasoning.adapter is not Adapter.REACT or reasoning.output_schema is not DEFAULT_SCHEMA:
        return step
    wanted = {keys[4] for keys in read if keys[:4] == place and len(keys) > 4}
    names = {name for name in wanted if isinstance(name, str)}
    if names <= DEFAULT_SCHEMA["properties"].keys():
        return step
    return replace(step, reasoning=replace(reasoning, output_schema=schema_for(names)))


def _input_schema(fields: FieldReader) -> Mapping[str, Any] | None:
    value = fields.raw("input_schema")
    if value is None:
        return None
    if not isinstance(value, dict):
        fields.field_error("input_schema", "is not a JSON Schema: give an object")
        return None
    found = list(json_schema.schema_errors(value, "input_schema"))
    for field_error in found:
        fields.field_error(field_error.path, field_error.message)
    types = value.get("type", "object")
    if not found and "object" not in (types if isinstance(types, list) else [types]):
        fields.field_error("input_schema", "must have the type object, because an input is always an object")
    return value


def _head(fields: FieldReader) -> dict[str, Any]:
    """Read the fields that both kinds have."""
    fields.raw("kind")
    namespace = fields.text("namespace")
    if namespace is not None and not is_namespace(namespace):
        message = "must be 1 to 63 lowercase letters, digits and hyphens, without a hyphen at the ends"
        fields.field_error("namespace", message)
    return {
        "name": fields.name("name"),
        "namespace": namespace or DEFAULT_NAMESPACE,
        "version": fields.name("version"),
        "description": fields.text("description") or "",
    }


def _tool_source(fields: FieldReader) -> ToolSource:
    with fields:
        transport = fields.one_of("transport", Transport)
        if fields.raw("transport") is None:
            transport = Transport.SSE
            if fields.has("command"):
                fields.field_error("transport", "is missing: write stdio to start a command; the default is sse")
                transport = Transport.STDIO
        stdio = transport is Transport.STDIO
        if stdio:
            fields.refuse(("url", "headers"), "is not valid for stdio, which starts a command: remove it")
        elif transport is not None:
            message = f"is not valid for {transport}, which connects to a url: remove it"
            fields.refuse(("command", "args", "cwd", "env", "env_inherit"), message)
        of_command = stdio or transport is None
        of_url = not stdio
        source = ToolSource(
            name=fields.name("name"),
            transport=transport or Transport.STDIO,
            url=fields.text("url", required=transport is not None, most=2_048) if of_url else None,
            headers=fields.text_mapping("headers") if of_url else {},
            command=fields.text("command", required=stdio) if of_command else None,
            args=fields.texts("args") if of_command else (),
            cwd=fields.text("cwd") if of_command else None,
            env=fields.text_mapping("env") if of_command else {},
            env_inherit=fields.unique_texts("env_inherit") if of_command else (),
        )
        _check_source(fields, source)
        return source


def _check_source(fields: FieldReader, source: ToolSource) -> None:
    if source.url is not None and not _HTTP_URL.fullmatch(source.url):
        fields.field_error("url", "must be an http(s) URL or begin with ${ENV:NAME}")


def _tell_repeated(fields: FieldReader, name: str, key: str, values: list[str]) -> None:
    for index, value in enumerate(values):
        if value and value in values[:index]:
            fields.field_error(f"{name}[{index}].{key}", f"{value!r} is a duplicate: use another {key}")
