// JSON that every reader reads alike: the check of arguments, the canonical form (RFC 8785), its digest, the reader.
// The server computes the same digest. A person approves a digest, so a value whose digest differs never runs.

export type Json = null | boolean | number | string | Json[] | JsonObject;
export interface JsonObject {
  [name: string]: Json;
}

/** The levels of objects and arrays that the server accepts. */
export const MAX_DEPTH = 64;
// The levels that a reader accepts: the server's answers wrap what it has accepted.
const MAX_READ_DEPTH = 128;
const TOKENS = /"[^"\\]*(?:\\.[^"\\]*)*"|[{}[\]:,]/gs;

/** Return a deep copy of a JSON value. Throw `TypeError` with the place of the first part that is not JSON. */
export function snapshot(value: unknown, path: string): Json {
  return copy(value, path, 1);
}

/** Return a deep copy of a JSON object, without the properties that are undefined. */
export function snapshotObject(value: object, path: string): JsonObject {
  if (Array.isArray(value)) throw new TypeError(`${path} is an array: pass an object`);
  return snapshot(value, path) as JsonObject;
}

/** Return the SHA-256 of the value's canonical JSON, in hex. */
export async function digest(value: Json): Promise<string> {
  const hash = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(dumps(value)));
  return Array.from(new Uint8Array(hash), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Encode as canonical JSON (RFC 8785). */
export function dumps(value: Json): string {
  if (Array.isArray(value)) return `[${value.map(dumps).join(",")}]`;
  if (typeof value === "object" && value !== null) {
    // `sort` compares UTF-16 code units, as the canonical form does.
    const names = Object.keys(value).sort();
    return `{${names.map((name) => `${JSON.stringify(name)}:${dumps(value[name] as Json)}`).join(",")}}`;
  }
  if (typeof value === "number" && !Number.isFinite(value)) throw new RangeError(`${value} is not a JSON number`);
  return JSON.stringify(value);
}

/** Read JSON strictly. Throw `SyntaxError` for text that readers read differently, such as a repeated name. */
export function loads(bytes: Uint8Array): Json {
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw new SyntaxError("is not UTF-8");
  }
  const value = JSON.parse(text, (_, item: Json) => {
    if (item === Infinity || item === -Infinity) throw new SyntaxError("has a number that is too large");
    return item;
  }) as Json;
  checkNames(text);
  return value;
}

export function equal(one: Json, other: Json): boolean {
  return dumps(one) === dumps(other);
}

export function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function copy(value: unknown, path: string, depth: number): Json {
  if (value === null || typeof value === "boolean") return value;
  if (typeof value === "string") return text(value, path);
  if (typeof value === "number") return number(value, path);
  if (typeof value !== "object") throw new TypeError(`${path} is a ${typeof value}, which is not JSON${advice(value)}`);
  if (depth > MAX_DEPTH) throw new TypeError(`${path} is nested deeper than ${MAX_DEPTH} levels: flatten it`);
  if (Array.isArray(value)) return Array.from(value, (item, index) => copy(item, `${path}[${index}]`, depth + 1));
  // An object of another realm has another `Object.prototype`, whose prototype is also null.
  const prototype: unknown = Object.getPrototypeOf(value);
  if (prototype !== null && Object.getPrototypeOf(prototype) !== null) {
    const name = value.constructor?.name || "class instance";
    throw new TypeError(`${path} is a ${name}, which is not JSON: pass a string or a plain object`);
  }
  const copied: JsonObject = {};
  for (const [name, item] of Object.entries(value) as [string, unknown][]) {
    if (name === "__proto__") throw new TypeError(`${path} has the name __proto__, which changes objects: rename it`);
    if (item !== undefined) copied[text(name, `${path} (a name)`)] = copy(item, `${path}.${name}`, depth + 1);
  }
  return copied;
}

function text(value: string, path: string): string {
  if (!/\0|\p{Surrogate}/u.test(value)) return value;
  throw new TypeError(`${path} contains NUL or a lone surrogate, which JSON readers reject: remove it`);
}

function number(value: number, path: string): number {
  if (!Number.isFinite(value)) {
    throw new TypeError(`${path} is ${value}, which JSON has no number for: pass it as a string`);
  }
  if (Number.isInteger(value) && !Number.isSafeInteger(value)) {
    throw new TypeError(`${path} is an integer beyond 2^53-1, which JavaScript has rounded: pass it as a string`);
  }
  return value === 0 ? 0 : value; // JSON does not tell -0 from 0
}

function advice(value: unknown): string {
  if (typeof value === "bigint") return ": pass it as a string";
  return value === undefined ? ": leave it out, or pass null" : "";
}

// `JSON.parse` keeps the last of two equal names, and other readers keep the first.
function checkNames(text: string): void {
  const open: (Set<string> | null)[] = [];
  let last = "";
  for (const [token] of text.matchAll(TOKENS)) {
    if (token === "{") open.push(new Set());
    else if (token === "[") open.push(null);
    else if (token === "}" || token === "]") open.pop();
    else if (token === ":") {
      const name = JSON.parse(last) as string;
      const names = open.at(-1);
      if (names?.has(name)) throw new SyntaxError("a name occurs twice in an object");
      names?.add(name);
    }
    if (open.length > MAX_READ_DEPTH) throw new SyntaxError("is nested too deeply");
    last = token;
  }
}
