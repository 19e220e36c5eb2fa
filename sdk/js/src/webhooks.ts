// Verification of webhooks (Standard Webhooks, https://www.standardwebhooks.com), by WebCrypto.

import { isObject, loads, type JsonObject } from "./canonical-json.js";
import { InvalidWebhook } from "./errors.js";

const PREFIX = "whsec_";
/** The seconds that the sender's clock and this clock may differ. */
const TOLERANCE = 300;

/** A verified webhook. Read the pause from the server before you act: the webhook only says that it changed. */
export interface WebhookEvent {
  /** The same on each attempt, so that a receiver finds duplicates. */
  readonly id: string;
  readonly type: string;
  readonly timestamp: string;
  readonly data: JsonObject;
}

export interface WebhookOptions {
  /** The seconds that the sender's clock and this clock may differ. The default is 300. */
  tolerance?: number | undefined;
}

type HeaderValues = Readonly<Record<string, string | readonly string[] | undefined>>;

/**
 * Return the event of a webhook. Throw `InvalidWebhook` if no secret has signed it, or if it is too old.
 *
 * `body` is the body as it came, before any parser. After a rotation, `secrets` may be the new and the old secret.
 */
export async function verifyWebhook(
  body: string | Uint8Array | ArrayBuffer,
  headers: Headers | HeaderValues,
  secrets: string | readonly string[],
  options: WebhookOptions = {},
): Promise<WebhookEvent> {
  const bytes = bytesOf(body);
  const keys = await Promise.all([secrets].flat().map(keyOf));
  const id = header(headers, "webhook-id");
  const sentAt = header(headers, "webhook-timestamp");
  const signatures = header(headers, "webhook-signature")
    .split(" ")
    .flatMap((each) => (each.startsWith("v1,") ? [decode(each.slice("v1,".length))] : []));
  checkTime(sentAt, options.tolerance ?? TOLERANCE);
  const signed = concatenated(new TextEncoder().encode(`${id}.${sentAt}.`), bytes);
  const results = await Promise.all(
    keys.flatMap((key) =>
      signatures.map(async (signature) => signature !== null && crypto.subtle.verify("HMAC", key, signature, signed)),
    ),
  );
  if (!results.includes(true)) {
    throw new InvalidWebhook("no signature of the webhook is right: check the secret, and pass the body as it came");
  }
  return read(id, bytes);
}

function read(id: string, bytes: Uint8Array): WebhookEvent {
  let document: unknown;
  try {
    document = loads(bytes);
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    throw new InvalidWebhook(`the webhook is not JSON: ${error.message}`, null, { cause: error });
  }
  if (isObject(document)) {
    const { type, timestamp, data } = document;
    if (typeof type === "string" && typeof timestamp === "string" && isObject(data)) {
      return { id, type, timestamp, data };
    }
  }
  throw new InvalidWebhook("the webhook has no type, timestamp and data: is it from Sagahold?");
}

function bytesOf(body: unknown): Uint8Array<ArrayBuffer> {
  if (typeof body === "string") return new TextEncoder().encode(body);
  if (body instanceof ArrayBuffer) return new Uint8Array(body);
  if (ArrayBuffer.isView(body)) return new Uint8Array(new Uint8Array(body.buffer, body.byteOffset, body.byteLength));
  throw new TypeError("pass the body of the webhook as it came, as a string or as bytes, not as parsed JSON");
}

async function keyOf(secret: string): Promise<CryptoKey> {
  const bytes = typeof secret === "string" && secret.startsWith(PREFIX) ? decode(secret.slice(PREFIX.length)) : null;
  if (bytes === null || bytes.length === 0) throw new TypeError("the secret must be whsec_ and base64: copy it again");
  return crypto.subtle.importKey("raw", bytes, { name: "HMAC", hash: "SHA-256" }, false, ["verify"]);
}

function header(headers: Headers | HeaderValues, name: string): string {
  const value = headers instanceof Headers ? headers.get(name) : own(headers, name);
  if (typeof value === "string" && value !== "") return value;
  throw new InvalidWebhook(`the webhook has no header ${name}, or has it twice: it is not from Sagahold`);
}

function own(headers: HeaderValues, name: string): unknown {
  const values = Object.entries(headers).filter(([each, value]) => each.toLowerCase() === name && value !== undefined);
  return values.length === 1 ? values[0]?.[1] : undefined;
}

function checkTime(sentAt: string, tolerance: number): void {
  if (!/^[0-9]{1,15}$/.test(sentAt)) throw new InvalidWebhook("the webhook-timestamp is not a number of seconds");
  const difference = Math.abs(Date.now() / 1000 - Number(sentAt));
  if (!(difference <= tolerance)) {
    throw new InvalidWebhook(
      `the webhook is ${Math.round(difference)} s off, and ${tolerance} s are allowed: check this machine's clock`,
    );
  }
}

function decode(text: string): Uint8Array<ArrayBuffer> | null {
  try {
    return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  } catch {
    return null;
  }
}

function concatenated(one: Uint8Array, other: Uint8Array): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(one.length + other.length);
  bytes.set(one);
  bytes.set(other, one.length);
  return bytes;
}
