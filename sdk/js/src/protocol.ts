// The operations of the API, for anything that can send a request and sleep.

import {
  digest,
  equal,
  isObject,
  loads,
  snapshot,
  snapshotObject,
  type Json,
  type JsonObject,
} from "./canonical-json.js";
import { NotReachable, RequestError, UnexpectedResponse, notUsable } from "./errors.js";
import { readPause, unchanging, type ExecutionStatus, type Pause } from "./pauses.js";

/** The longest long poll that the server allows, in seconds. */
const LONG_POLL = 60;
const MAX_DELAY = 30;
const MAX_RETRY_AFTER = 3600;
/** The longest note of an outcome that the server accepts, in characters. */
const MAX_NOTE = 1000;
const DOOR = "js-sdk";
const HTTP_DATE = /^[A-Z][a-z]{2}, \d{2} [A-Z][a-z]{2} \d{4} \d{2}:\d{2}:\d{2} GMT$/;

/** A request. `timeout` is in seconds. */
export interface Call {
  readonly method: "GET" | "POST";
  readonly path: string;
  readonly params?: Readonly<Record<string, string>>;
  readonly body?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly timeout?: number;
  readonly signal?: AbortSignal | undefined;
}

/** A response. Status 0 means that none came; `body` then has the reason. `elapsed` is in seconds. */
export interface Answer {
  readonly status: number;
  readonly body: Uint8Array;
  readonly headers: Headers;
  readonly elapsed: number;
}

export interface Logger {
  info(message: string): void;
  warn(message: string): void;
  error(message: string): void;
}

export interface Transport {
  readonly logger: Logger;
  send(call: Call): Promise<Answer>;
  sleep(seconds: number, signal?: AbortSignal): Promise<void>;
}

/** The seconds that an operation may still take; null means no limit. */
export class Budget {
  constructor(public left: number | null) {}

  spend(seconds: number): void {
    if (this.left !== null) this.left -= seconds;
  }
}

/** The fields of a request for a decision. Fields that are left out get the server's defaults. */
export interface RequestOptions {
  /** Exactly what will be executed. A reviewer may edit them. */
  arguments?: object | undefined;
  /** JSON Schema of the arguments. An edit must fit it. */
  argumentsSchema?: object | undefined;
  /** Facts that help the reviewer. */
  context?: object | undefined;
  /** The approval policy. */
  review?: object | undefined;
  /** The seconds that a decision may take; null is without limit. */
  expiresIn?: number | null | undefined;
  expiresAt?: string | undefined;
  onTimeout?: "expire" | "reject" | "approve" | "escalate" | undefined;
  /** The seconds after an approval in which `consume` must come; null is without limit. */
  validFor?: number | null | undefined;
  /** The seconds after the use until a missing outcome needs a look. */
  outcomeWithin?: number | undefined;
  /** JSON Schema of what the reviewer must answer. */
  responseSchema?: object | undefined;
  callbackUrl?: string | undefined;
  namespace?: string | undefined;
  priority?: number | undefined;
  tags?: readonly string[] | undefined;
  metadata?: object | undefined;
  externalId?: string | undefined;
}

export function retryAfter(answer: Answer): number | null {
  const value = answer.headers.get("retry-after") ?? "";
  if (/^[0-9]+$/.test(value)) return Math.min(Number(value), MAX_RETRY_AFTER);
  const at = HTTP_DATE.test(value) ? Date.parse(value) : NaN;
  return Number.isNaN(at) ? null : Math.min(Math.max((at - Date.now()) / 1000, 0), MAX_RETRY_AFTER);
}

export function isTransient(answer: Answer): boolean {
  return [0, 408, 425, 429].includes(answer.status) || answer.status >= 500;
}

/** Return the seconds before the next attempt: what the server asks for, else up to 30 s, with jitter. */
export function backoff(attempt: number, answer: Answer): number {
  const delay = Math.min(0.5 * 2 ** Math.min(attempt, 10), MAX_DELAY) * (0.8 + 0.4 * Math.random());
  return Math.max(delay, retryAfter(answer) ?? 0);
}

/** Send the request until an answer comes that is neither a network error nor a server error. */
async function exchange(transport: Transport, call: Call, budget: Budget): Promise<Answer> {
  for (let attempt = 0; ; attempt += 1) {
    const answer = await transport.send(call);
    budget.spend(answer.elapsed);
    if (!isTransient(answer)) return answer;
    const delay = backoff(attempt, answer);
    const reason = answer.status === 0 ? new TextDecoder().decode(answer.body).slice(0, 200) : `HTTP ${answer.status}`;
    if (budget.left !== null && budget.left < delay) {
      const advice = "check SAGAHOLD_URL, the network and the server; the same key continues later";
      throw new NotReachable(`Sagahold does not answer (${reason}): ${advice}`);
    }
    transport.logger.warn(`Sagahold does not answer (${reason}): the next attempt is in ${delay.toFixed(1)} s`);
    await transport.sleep(delay, call.signal);
    budget.spend(delay);
  }
}

/** Return the JSON object of a successful answer. Throw `RequestError` for a problem. */
export function read(answer: Answer): JsonObject {
  if (answer.status >= 300 && answer.status < 400) {
    const where = (answer.headers.get("location") ?? "elsewhere").slice(0, 200);
    throw new UnexpectedResponse(
      `the server redirects to ${where}: set SAGAHOLD_URL to the address of Sagahold itself`,
    );
  }
  let document: Json = null;
  try {
    document = loads(answer.body);
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
  }
  if (isObject(document) && [200, 201].includes(answer.status)) return document;
  if (isObject(document) && typeof document["code"] === "string") {
    const { code, detail, title, errors } = document;
    throw new RequestError(answer.status, code, String(detail ?? title), Array.isArray(errors) ? errors : []);
  }
  throw new UnexpectedResponse(
    `HTTP ${answer.status} with a body that is not Sagahold's JSON: check SAGAHOLD_URL, and proxies on the way`,
  );
}

export function idOf(pause: Pause | string): string {
  return typeof pause === "string" ? pause : pause.watchId;
}

export function pathOf(pause: Pause | string, verb?: string): string {
  return `/api/pause/${encodeURIComponent(idOf(pause))}${verb === undefined ? "" : `/${verb}`}`;
}

function post(path: string, body: JsonObject, key?: string): Call {
  const headers = { "Content-Type": "application/json", ...(key === undefined ? {} : { "Idempotency-Key": key }) };
  return { method: "POST", path, body: JSON.stringify(body), headers };
}

/** Return the body of a request. Throw `TypeError` if a part of it is not JSON. */
export function draft(action: string, options: RequestOptions): JsonObject {
  const { validFor, expiresIn, metadata, ...fields } = options;
  return snapshotObject(
    {
      ...fields,
      action,
      metadata: { door: DOOR, ...metadata },
      expiresIn: wholeSeconds(expiresIn),
      approvalValidFor: wholeSeconds(validFor),
    },
    "request",
  );
}

function wholeSeconds(value: number | null | undefined): number | null | undefined {
  return typeof value === "number" ? Math.trunc(value) : value;
}

export async function request(transport: Transport, body: JsonObject, key: string, budget: Budget): Promise<Pause> {
  if (!/^[!-~]{8,128}$/.test(key)) {
    const shown = JSON.stringify(key).slice(0, 80);
    throw new RangeError(`the key ${shown} must have 8 to 128 printable ASCII characters without blanks`);
  }
  return readPause(read(await exchange(transport, post("/api/pause", body, key), budget)));
}

export async function get(transport: Transport, pause: Pause | string, budget: Budget): Promise<Pause> {
  const answer = await exchange(transport, { method: "GET", path: pathOf(pause) }, budget);
  return readPause(read(answer), idOf(pause));
}

export async function page(
  transport: Transport,
  filters: Readonly<Record<string, string | number | boolean | null | undefined>>,
  budget: Budget,
): Promise<[Pause[], string | null]> {
  const params: Record<string, string> = {};
  for (const [name, value] of Object.entries(filters)) {
    if (value !== undefined && value !== null) params[name] = String(value);
  }
  const document = read(await exchange(transport, { method: "GET", path: "/api/pause", params }, budget));
  const items = document["items"];
  const cursor = document["next_cursor"] ?? null;
  if (!Array.isArray(items) || !(cursor === null || typeof cursor === "string")) {
    throw new UnexpectedResponse("the list of pauses has no items: is this the address of Sagahold?");
  }
  return [await Promise.all(items.map((item) => readPause(item))), cursor];
}

/** Wait for the decision by long polls, through any outage of the server. Throw `StillPending` after the budget. */
export async function wait(
  transport: Transport,
  pause: Pause | string,
  budget: Budget,
  signal?: AbortSignal,
): Promise<Pause> {
  for (;;) {
    const seconds = Math.trunc(Math.min(LONG_POLL, Math.max(0, budget.left ?? LONG_POLL)));
    const params = { wait: String(seconds) };
    const call: Call = { method: "GET", path: pathOf(pause), params, timeout: seconds + 15, signal };
    const answer = await exchange(transport, call, budget);
    const found = await readPause(read(answer), idOf(pause));
    if (found.status !== "pending") return found;
    if (budget.left !== null && budget.left < 1) throw notUsable(found);
    // A server that ends or has no room for a long poll answers at once.
    const delay = retryAfter(answer) || Math.max(0, 1 - answer.elapsed);
    await transport.sleep(delay, signal);
    budget.spend(delay);
  }
}

/**
 * Use the approval once, for exactly these arguments.
 *
 * The key is new each time, so that only this attempt gets the approval, and a restarted process does not.
 */
export async function consume(transport: Transport, pause: Pause, budget: Budget): Promise<Pause> {
  if (pause.status !== "approved" || pause.consumedAt !== null) throw notUsable(pause);
  const approved = pause.decision.arguments;
  const body: JsonObject = approved === null ? {} : { argumentsDigest: await digest(approved) };
  const answer = await exchange(transport, post(pathOf(pause, "consume"), body, `use-${randomName()}`), budget);
  let used: Pause;
  try {
    used = await readPause(read(answer), pause.watchId);
  } catch (error) {
    if (!(error instanceof RequestError)) throw error;
    if (!["NOT_APPROVED", "APPROVAL_EXPIRED", "ALREADY_CONSUMED"].includes(error.code)) throw error;
    const unusable = notUsable(await get(transport, pause, budget));
    unusable.cause = error;
    throw unusable;
  }
  if (used.consumedAt === null || !equal(unchanging(used), unchanging(pause))) {
    throw new UnexpectedResponse("the server did not confirm the use of the approval: nothing runs", used);
  }
  return used;
}

export async function outcome(
  transport: Transport,
  pause: Pause | string,
  status: ExecutionStatus,
  note: string | undefined,
  result: unknown,
  budget: Budget,
): Promise<Pause> {
  const body: JsonObject = { status };
  if (note !== undefined) body["note"] = clean(note);
  if (result !== undefined && result !== null) body["result"] = snapshot(result, "result");
  return readPause(read(await exchange(transport, post(pathOf(pause, "outcome"), body), budget)), idOf(pause));
}

export async function cancel(
  transport: Transport,
  pause: Pause | string,
  comment: string | undefined,
  budget: Budget,
): Promise<Pause> {
  const body: JsonObject = comment === undefined ? {} : { comment };
  return readPause(read(await exchange(transport, post(pathOf(pause, "cancel"), body), budget)), idOf(pause));
}

export function randomName(): string {
  return crypto.randomUUID().replaceAll("-", "");
}

/** Return the text with at most this many characters. */
export function cut(text: string, length: number): string {
  const characters = Array.from(text);
  return characters.length <= length ? text : `${characters.slice(0, length - 1).join("")}…`;
}

/** Cut the text to the length and the characters that the server accepts. */
function clean(text: string): string {
  return cut(text.replace(/\0|\p{Surrogate}/gu, "\ufffd"), MAX_NOTE);
}
