"""`@require_approval`: a function runs once, after a person has approved its arguments, and its outcome is reported."""

import functools
import inspect
import os
import threading
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from itertools import count
from types import EllipsisType
from typing import Any, ParamSpec, TypeVar, cast
from uuid import uuid4

from sagahold import canonical_json, protocol
from sagahold.client import AsyncClient, Client
from sagahold.errors import SagaholdError, UnexpectedResponse, not_usable
from sagahold.pauses import ExecutionStatus, Pause
from sagahold.protocol import Budget, Flow, Seconds, log

P = ParamSpec("P")
R = TypeVar("R")

MAX_ACTION = 500
# The seconds for the report of an interrupted function.
HURRY = 5.0
_JSON_TYPES = {"str": "string", "int": "integer", "float": "number", "bool": "boolean"}
# The numbers of equal calls in the run that SAGAHOLD_RUN_ID names, by the digest of the call.
_calls: defaultdict[str, set[int]] = defaultdict(set)
_calls_lock = threading.Lock()


def require_approval(
    *,
    action: str | Callable[..., str],
    review: Mapping[str, Any] | None = None,
    valid_for: Seconds | None = 900,
    expires_in: Seconds | EllipsisType | None = ...,
    when: Callable[..., bool] | None = None,
    key: str | Callable[..., str | int] | None = None,
    unknown_on: tuple[type[BaseException], ...] = (),
    client: Client | AsyncClient | None = None,
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorate a function or coroutine function. The callables below get its arguments by their names.

    Args:
        action: what the reviewer reads; a text may name arguments, as in `"Refund order {order}"`.
        review: the approval policy. The default is the namespace's.
        valid_for: the seconds after an approval in which the function must start; None is without limit.
        expires_in: the seconds that a decision may take; None is without limit, `...` the server's default.
        when: if it returns False, the function runs without approval. Every other result asks.
        key: the name of the one intended action, such as an invoice number. A restarted process that calls with the
            same key and arguments finds the same pause. Without a key each call asks again.
        unknown_on: exceptions after which the action may have happened; the outcome is `unknown`, not `failed`.
        client: the default is a new client for each call, for SAGAHOLD_URL and SAGAHOLD_API_KEY.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        target = _Target(function, action, review, valid_for, expires_in, when, key, unknown_on)
        if inspect.iscoroutinefunction(function):
            if isinstance(client, Client):
                raise TypeError(f"{target.name} is a coroutine function: pass an AsyncClient")
            held: Callable[..., Any] = _asynchronous(target, client)
        else:
            if isinstance(client, AsyncClient):
                raise TypeError(f"{target.name} is not a coroutine function: pass a Client")
            held = _blocking(target, client)
        return cast("Callable[P, R]", functools.wraps(function)(held))

    return decorate


def _blocking(target: "_Target", client: Client | None) -> Callable[..., Any]:
    def held(*args: Any, **kwargs: Any) -> Any:
        request = target.request(args, kwargs)
        if request is None:
            return target.function(*args, **kwargs)
        with Client() if client is None else nullcontext(client) as api:
            with _numbered(request):
                approved = api.run(_approval(target, request, api.retry_for))
            try:
                result = target.function(*approved.args, **approved.kwargs)
                if inspect.isawaitable(result):
                    getattr(result, "close", lambda: None)()
                    raise _NotAwaited(f"{target.name} returned an awaitable: decorate the coroutine function itself")
            except BaseException as error:
                api.run(protocol.report(approved.pause, *target.failure(error, api.retry_for)))
                raise
            api.run(protocol.report(approved.pause, "succeeded", None, Budget(api.retry_for)))
            return result

    return held


def _asynchronous(target: "_Target", client: AsyncClient | None) -> Callable[..., Awaitable[Any]]:
    async def held(*args: Any, **kwargs: Any) -> Any:
        request = target.request(args, kwargs)
        if request is None:
            return await target.function(*args, **kwargs)
        async with AsyncClient() if client is None else nullcontext(client) as api:
            with _numbered(request):
                approved = await api.run(_approval(target, request, api.retry_for))
            try:
                result = await target.function(*approved.args, **approved.kwargs)
            except GeneratorExit:
                raise  # the coroutine is thrown away, and may not await
            except BaseException as error:
                await api.run(protocol.report(approved.pause, *target.failure(error, api.retry_for)))
                raise
            await api.run(protocol.report(approved.pause, "succeeded", None, Budget(api.retry_for)))
            return result

    return held


class _NotAwaited(TypeError):
    """The function returned before its action ended: a task may already run."""


@dataclass(frozen=True)
class _Request:
    """One call that needs approval.

    Attributes:
        own: the object of a method.
        found_by: None if no restart can find it.
        number: the digest of the call and its number in the run; None outside a run.
    """

    own: tuple[Any, ...]
    arguments: dict[str, Any]
    body: dict[str, Any]
    key: str
    found_by: str | None
    number: tuple[str, int] | None


@dataclass(frozen=True)
class _Approved:
    pause: Pause
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


@dataclass(frozen=True)
class _Target:
    """The decorated function and its options."""

    function: Callable[..., Any]
    action: str | Callable[..., str]
    review: Mapping[str, Any] | None
    valid_for: Seconds | None
    expires_in: Seconds | EllipsisType | None
    when: Callable[..., bool] | None
    key: str | Callable[..., str | int] | None
    unknown_on: tuple[type[BaseException], ...]

    def __post_init__(self) -> None:
        if inspect.isgeneratorfunction(self.function) or inspect.isasyncgenfunction(self.function):
            raise TypeError(f"{self.name} is a generator, which runs in pieces: decorate a function that it calls")

    @functools.cached_property
    def name(self) -> str:
        return f"{self.function.__module__}.{self.function.__qualname__}"

    @functools.cached_property
    def signature(self) -> inspect.Signature:
        return inspect.signature(self.function)

    @functools.cached_property
    def parameters(self) -> list[inspect.Parameter]:
        """The parameters that a reviewer sees: all except a method's own object."""
        found = list(self.signature.parameters.values())
        return found[1:] if found and found[0].name in ("self", "cls") else found

    def request(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> _Request | None:
        """Return the request for this call, or None if it needs no approval."""
        bound = self.signature.bind(*args, **kwargs)
        bound.apply_defaults()
        given = dict(bound.arguments)
        own = tuple(given.pop(name) for name in list(given)[: len(given) - len(self.parameters)])
        for parameter in self.parameters:
            if parameter.kind is parameter.VAR_POSITIONAL:
                given[parameter.name] = list(given[parameter.name])
        # A copy, because the caller may change lists and objects while a person decides.
        arguments = {name: canonical_json.snapshot(value, f"argument {name}") for name, value in given.items()}
        if self.when is not None and self.when(**canonical_json.snapshot(arguments, "")) is False:
            return None
        action = self._action(canonical_json.snapshot(arguments, ""))
        key, found_by, number = self._key(arguments)
        fields = {
            "argumentsSchema": self._schema(arguments),
            "metadata": {"client": {"function": self.name}},
            **({} if found_by is None else {"externalId": found_by}),
        }
        body = protocol.draft(action, arguments, None, self.review, self.expires_in, self.valid_for, fields)
        return _Request(own, arguments, body, key, found_by, number)

    def _action(self, arguments: dict[str, Any]) -> str:
        try:
            action = self.action.format(**arguments) if isinstance(self.action, str) else self.action(**arguments)
        except (LookupError, AttributeError) as error:
            raise TypeError(f"the action of {self.name} names {error}, which is not in its arguments") from error
        return action if len(action) <= MAX_ACTION else action[: MAX_ACTION - 1] + "…"

    def _key(self, arguments: dict[str, Any]) -> tuple[str, str | None, tuple[str, int] | None]:
        """Return the Idempotency-Key, the same as the name to find the pause by after a restart, and the number.

        With neither a key nor a run the call is known to this process only, because two equal refunds may both be
        intended. In a run the first, the second, … equal call find the first, the second, … pause.
        """
        call: dict[str, Any] = {"function": self.name, "arguments": arguments}
        number = None
        if self.key is not None:
            call["key"] = self.key if isinstance(self.key, str) else self.key(**canonical_json.snapshot(arguments, ""))
            if type(call["key"]) not in (str, int) or call["key"] == "":
                raise TypeError(f"the key of {self.name} is {call['key']!r}: it must be a text or an integer")
        elif run := os.environ.get("SAGAHOLD_RUN_ID"):
            equal = canonical_json.digest({**call, "run": run})
            with _calls_lock:
                number = equal, next(each for each in count() if each not in _calls[equal])
                _calls[equal].add(number[1])
            call |= {"run": run, "call": number[1]}
        else:
            return f"once-{uuid4().hex}", None, None
        name = f"call-{canonical_json.digest(call)}"
        return name, name, number

    def _schema(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Return a JSON Schema that keeps an edit within the function's parameters."""
        properties: dict[str, Any] = {}
        for parameter in self.parameters:
            annotation = _annotation(parameter)
            value = arguments[parameter.name]
            if parameter.kind is parameter.VAR_POSITIONAL:
                properties[parameter.name] = {"type": "array"}
            elif parameter.kind is parameter.VAR_KEYWORD:
                properties[parameter.name] = {"type": "object"}
            elif type(value).__name__ == annotation and annotation in _JSON_TYPES:
                properties[parameter.name] = {"type": _JSON_TYPES[annotation]}
            else:
                properties[parameter.name] = {}
        required = list(properties)
        return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}

    def typed(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Return an integer for each `int`: JSON does not tell 200.0 from 200, and a reviewer may write either."""
        whole = {each.name for each in self.parameters if _annotation(each) == "int"}
        return {
            name: int(value) if name in whole and isinstance(value, float) and value.is_integer() else value
            for name, value in arguments.items()
        }

    def bind(self, own: tuple[Any, ...], arguments: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the positional and the keyword arguments of the call. Raise `TypeError` if they do not fit."""
        if arguments.keys() != {parameter.name for parameter in self.parameters}:
            raise TypeError(f"the arguments are {', '.join(arguments) or 'none'}")
        args, kwargs = list(own), dict[str, Any]()
        for parameter in self.parameters:
            value = arguments[parameter.name]
            if parameter.kind is parameter.VAR_POSITIONAL:
                args += value
            elif parameter.kind is parameter.VAR_KEYWORD:
                kwargs |= value
            elif parameter.kind is parameter.KEYWORD_ONLY:
                kwargs[parameter.name] = value
            else:
                args.append(value)
        self.signature.bind(*args, **kwargs)
        return tuple(args), kwargs

    def failure(self, error: BaseException, retry_for: float) -> tuple[ExecutionStatus, str, Budget]:
        """Return the outcome to report. An interrupted function may have acted or not, and its caller is in a hurry."""
        note = f"{type(error).__name__}: {error}"
        if not isinstance(error, Exception):
            return "unknown", note, Budget(min(retry_for, HURRY))
        unknown = isinstance(error, (_NotAwaited, *self.unknown_on))
        return "unknown" if unknown else "failed", note, Budget(retry_for)


def _annotation(parameter: inspect.Parameter) -> Any:
    return getattr(parameter.annotation, "__name__", parameter.annotation)


@contextmanager
def _numbered(request: _Request) -> Iterator[None]:
    """Give the call's number back if no decision is known, so that the next equal call finds the same pause."""
    try:
        yield
    except BaseException as error:
        if request.number is not None and getattr(error, "decision", None) is None:
            call, number = request.number
            with _calls_lock:
                _calls[call].discard(number)
        raise


def _approval(target: _Target, request: _Request, retry_for: float) -> Flow[_Approved]:
    """Ask or find the pause, wait for the decision, and use the approval for the approved arguments."""
    pause = yield from _asked(request, retry_for)
    try:
        return (yield from _used(target, request, pause))
    except SagaholdError as error:
        error.pause = error.pause or pause
        raise


def _used(target: _Target, request: _Request, pause: Pause) -> Flow[_Approved]:
    if pause.action != request.body["action"] or not canonical_json.equal(pause.posted_arguments, request.arguments):
        message = f"the pause of this key asks for something else, “{pause.action}”: give the call another key"
        raise UnexpectedResponse(message)
    if pause.status == "pending":
        log.info("“%s” waits for a decision: %s", pause.action, pause.review_url)
        pause = yield from protocol.wait(pause, Budget(None))
    if pause.decision is None or not pause.approved or pause.consumed_at is not None:
        raise not_usable(pause)
    # Without an edit, the copy keeps what JSON does not tell apart, such as 1.0 and 1.
    approved = pause.decision.arguments
    same = canonical_json.equal(approved, request.arguments)
    try:
        args, kwargs = target.bind(request.own, request.arguments if same else target.typed(approved or {}))
    except (TypeError, AttributeError) as error:
        message = f"the approved arguments do not fit {target.name}: {error}. Nothing runs. See {pause.review_url}"
        raise UnexpectedResponse(message, pause) from error
    # An answer that is lost would leave an approval that is used up, although nothing has run.
    return _Approved((yield from protocol.consume(pause, Budget(None))), args, kwargs)


def _asked(request: _Request, retry_for: float) -> Flow[Pause]:
    if request.found_by is not None:
        # The server forgets an Idempotency-Key a day after the decision; the name stays.
        found, _ = yield from protocol.page({"externalId": request.found_by, "limit": 1}, Budget(retry_for))
        if found:
            return found[0]
    return (yield from protocol.request(request.body, request.key, Budget(retry_for)))
