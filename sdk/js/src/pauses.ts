// A pause as the server describes it, read strictly: a document with a mistake is an error, never an approval.

import { digest, isObject, type Json, type JsonObject } from "./canonical-json.js";
import { UnexpectedResponse } from "./errors.js";

const STATUSES = ["pending", "approved", "rejected", "expired", "cancelled"] as const;
const EXECUTION_STATUSES = ["succeeded", "failed", "unknown"] as const;

export type Status = (typeof STATUSES)[number];
export type ExecutionStatus = (typeof EXECUTION_STATUSES)[number];

/** The decision on a pause. After an approval, `arguments` are exactly what may run. */
export interface Decision {
  readonly outcome: Status;
  readonly decidedBy: string;
  readonly decidedByName: string;
  readonly decidedAt: string;
  readonly comment: string | null;
  readonly arguments: JsonObject | null;
  readonly response: Json;
  readonly validUntil: string | null;
}

/** The agent's report of what happened when it used the approval. */
export interface Outcome {
  readonly status: ExecutionStatus;
  readonly note: string | null;
  readonly result: Json;
  readonly reportedAt: string | null;
}

interface AnyPause {
  readonly watchId: string;
  readonly action: string;
  /** The arguments as they are now; a reviewer may have edited them. */
  readonly arguments: JsonObject | null;
  readonly postedArguments: JsonObject | null;
  readonly argumentsDigest: string | null;
  readonly revision: number;
  readonly reviewUrl: string;
  /** The time at which the approval was used. */
  readonly consumedAt: string | null;
  /** The report after that. */
  readonly outcome: Outcome | null;
  /** The whole document of the API. */
  readonly document: JsonObject;
}

/** An action that waits for a decision, or has one. */
export type Pause = AnyPause &
  (
    | { readonly status: "pending"; readonly decision: null }
    | { readonly status: Exclude<Status, "pending">; readonly decision: Decision }
  );

/** Read the document of a pause. Throw `UnexpectedResponse` if it is another pause, or no pause at all. */
export async function readPause(document: Json | undefined, watchId?: string): Promise<Pause> {
  const found = object({ pause: document ?? null }, "pause");
  if (watchId !== undefined && found["watchId"] !== watchId) {
    throw new UnexpectedResponse(`the server sent another pause than ${watchId}: do not continue, ask its operator`);
  }
  const unreadable = found["unreadable"] ?? null;
  if (unreadable !== null && !(Array.isArray(unreadable) && unreadable.length === 0)) {
    throw new UnexpectedResponse(
      `the server does not understand ${JSON.stringify(unreadable)} of this pause: upgrade the server`,
    );
  }
  const context = object(found, "agentContext");
  const consumption = maybe(object, found, "consumption");
  const facts: AnyPause = {
    watchId: string(found, "watchId"),
    action: string(context, "action"),
    arguments: maybe(object, context, "arguments"),
    postedArguments: maybe(object, found, "postedArguments") ?? maybe(object, context, "arguments"),
    argumentsDigest: maybe(string, found, "argumentsDigest"),
    revision: integer(found, "revision"),
    reviewUrl: string(found, "reviewUrl"),
    consumedAt: consumption && string(consumption, "consumedAt"),
    outcome: consumption && readOutcome(maybe(object, consumption, "outcome")),
    document: found,
  };
  const status = choice(STATUSES, found, "status");
  if (status === "pending") return { ...facts, status, decision: null };
  const decision = readDecision(object(found, "decision"));
  if (decision.outcome !== status) {
    throw new UnexpectedResponse(`the pause is ${status}, but its decision says ${decision.outcome}`);
  }
  if (status === "approved") await checkDigest(decision.arguments, facts.argumentsDigest);
  return { ...facts, status, decision };
}

/** Return the fields of a pause that its use and its outcome do not change. */
export function unchanging(pause: Pause): Json {
  const { consumedAt: _1, outcome: _2, document: _3, ...rest } = pause;
  return rest as unknown as Json;
}

function readDecision(found: JsonObject): Decision {
  return {
    outcome: choice(STATUSES, found, "outcome"),
    decidedBy: string(found, "decidedBy"),
    decidedByName: maybe(string, found, "decidedByName") ?? string(found, "decidedBy"),
    decidedAt: string(found, "decidedAt"),
    comment: maybe(string, found, "comment"),
    arguments: maybe(object, found, "arguments"),
    response: found["response"] ?? null,
    validUntil: maybe(string, found, "validUntil"),
  };
}

function readOutcome(found: JsonObject | null): Outcome | null {
  if (found === null) return null;
  return {
    status: choice(EXECUTION_STATUSES, found, "status"),
    note: maybe(string, found, "note"),
    result: found["result"] ?? null,
    reportedAt: maybe(string, found, "reportedAt"),
  };
}

async function checkDigest(approved: JsonObject | null, stated: string | null): Promise<void> {
  if ((approved && (await digest(approved))) !== stated) {
    throw new UnexpectedResponse(
      "the approved arguments do not match argumentsDigest: something on the way alters JSON",
    );
  }
}

type Reader<T> = (document: JsonObject, name: string) => T;

function object(document: JsonObject, name: string): JsonObject {
  const value = document[name];
  return isObject(value) ? value : wrong(value, name, "an object");
}

function string(document: JsonObject, name: string): string {
  const value = document[name];
  return typeof value === "string" ? value : wrong(value, name, "a string");
}

function integer(document: JsonObject, name: string): number {
  const value = document[name];
  return typeof value === "number" && Number.isSafeInteger(value) ? value : wrong(value, name, "an integer");
}

function maybe<T>(read: Reader<T>, document: JsonObject, name: string): T | null {
  return (document[name] ?? null) === null ? null : read(document, name);
}

function choice<T extends string>(choices: readonly T[], document: JsonObject, name: string): T {
  const value = document[name];
  const found = choices.find((each) => each === value);
  if (found !== undefined) return found;
  throw new UnexpectedResponse(`${name} is ${shown(value)}, which this SDK does not know: upgrade it`);
}

function wrong(value: Json | undefined, name: string, kind: string): never {
  throw new UnexpectedResponse(`${name} is ${shown(value)}, not ${kind}: is this the address of Sagahold?`);
}

function shown(value: Json | undefined): string {
  return String(JSON.stringify(value)).slice(0, 80);
}
