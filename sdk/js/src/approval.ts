// `requireApproval`: a function runs once, after a person has approved its arguments, and its outcome is reported.

import { digest, equal, snapshotObject, type Json, type JsonObject } from "./canonical-json.js";
import { Client, environment } from "./client.js";
import { SagaholdError, UnexpectedResponse, notUsable } from "./errors.js";
import { checkNoGenerator, runApproved } from "./execution.js";
import * as protocol from "./protocol.js";
import { Budget } from "./protocol.js";
import type { Pause } from "./pauses.js";

const MAX_ACTION = 500;
const VALID_FOR = 900;
/** The numbers of equal calls in the run that SAGAHOLD_RUN_ID names, by the digest of the call. */
export const calls = new Map<string, Set<number>>();

/** The options of a held function. Their functions get copies of the arguments of the call. */
export interface ApprovalOptions<A extends unknown[]> {
  /** The words that the reviewer reads. A text may name arguments, as in `"Refund order {order}"`. */
  action: string | ((...args: A) => string);
  /** The name of the function in the key. The default is the function's own name, which a minifier changes. */
  name?: string | undefined;
  /** The names of positional parameters. Without it the function takes one plain object. */
  parameters?: readonly string[] | undefined;
  /** JSON Schema that an edit must fit. The default keeps the names and the types of the arguments. */
  schema?: object | undefined;
  /** The approval policy. The default is the namespace's. */
  review?: object | undefined;
  /** The seconds after an approval in which the function must start; null is without limit. The default is 900. */
  validFor?: number | null | undefined;
  /** The seconds that a decision may take; null is without limit. The default is the server's. */
  expiresIn?: number | null | undefined;
  /** If it returns false, the function runs without approval. Every other result asks. */
  when?: ((...args: A) => boolean | Promise<boolean>) | undefined;
  /**
   * The name of the one intended action, such as an invoice number. A restarted process that calls with the same key
   * and arguments finds the same pause. Without a key each call asks again.
   */
  key?: string | number | ((...args: A) => string | number) | undefined;
  /** Tells whether the action may have happened despite the error; the outcome is then `unknown`, not `failed`. */
  unknownOn?: ((error: unknown) => boolean) | undefined;
  /** The default is a new client for each call, for SAGAHOLD_URL and SAGAHOLD_API_KEY. */
  client?: Client | undefined;
}

/** Return a function that asks for approval, runs `fn` with the approved arguments, and reports the outcome. */
export function requireApproval<T, A extends unknown[], R>(
  fn: (this: T, ...args: A) => R,
  options: ApprovalOptions<A>,
): (this: T, ...args: A) => Promise<Awaited<R>> {
  const target = new Target<A>(fn, options);
  const held = async function (this: T, ...args: A): Promise<Awaited<R>> {
    const call = new HeldCall(target, args);
    if ((await options.when?.(...call.copy())) === false) return await fn.apply(this, call.copy());
    const client = options.client ?? new Client();
    const approved = await call.approval(client);
    const run = (): R => fn.apply(this, target.bind(approved.decision?.arguments ?? {}, args.length));
    return runApproved(client, approved, target.name, run, options.unknownOn);
  };
  Object.defineProperty(held, "name", { value: target.name });
  return held;
}

/** The held function and its options. */
class Target<A extends unknown[]> {
  readonly name: string;

  constructor(
    fn: { readonly name: string },
    readonly options: ApprovalOptions<A>,
  ) {
    this.name = options.name || fn.name;
    if (this.name === "") throw new TypeError("the function has no name: pass the option name");
    checkNoGenerator(fn, this.name);
    if (new Set(options.parameters).size !== (options.parameters?.length ?? 0)) {
      throw new TypeError(`the parameters of ${this.name} have a name twice`);
    }
  }

  /** Return a copy of the arguments by their names. */
  named(args: A): JsonObject {
    const names = this.options.parameters;
    if (names === undefined) {
      const [only = {}, ...others] = args;
      if (typeof only !== "object" || only === null || others.length > 0) {
        throw new TypeError(`${this.name} must get one object, or needs the option parameters: ["first", "second"]`);
      }
      return snapshotObject(only, "argument");
    }
    if (args.length > names.length) {
      throw new TypeError(`${this.name} got ${args.length} arguments, but the option parameters names ${names.length}`);
    }
    return snapshotObject(Object.fromEntries(args.map((value, index) => [names[index], value])), "argument");
  }

  /** Return the arguments of the call, in a copy. `given` is the number of arguments that the caller gave. */
  bind(approved: JsonObject, given: number): A {
    const copied = snapshotObject(approved, "argument");
    const names = this.options.parameters;
    if (names === undefined) return (given === 0 && Object.keys(copied).length === 0 ? [] : [copied]) as unknown as A;
    const unknown = Object.keys(copied).filter((name) => !names.includes(name));
    if (unknown.length > 0) throw new TypeError(`there is no parameter ${unknown.join(", ")}`);
    const length = Math.max(given, ...names.map((name, index) => (name in copied ? index + 1 : 0)));
    return names.slice(0, length).map((name) => copied[name]) as unknown as A;
  }
}

/** One call that may need approval. */
class HeldCall<A extends unknown[]> {
  /** A copy, because the caller may change objects and arrays while a person decides. */
  readonly #arguments: JsonObject;
  readonly #given: number;

  constructor(
    private readonly target: Target<A>,
    args: A,
  ) {
    this.#arguments = target.named(args);
    this.#given = args.length;
  }

  copy(): A {
    return this.target.bind(this.#arguments, this.#given);
  }

  /** Ask or find the pause, wait for the decision, and use the approval. */
  async approval(client: Client): Promise<Pause> {
    const body = this.#body();
    const { key, foundBy, number } = await this.#key();
    if (foundBy !== null) body["externalId"] = foundBy;
    let pause: Pause | null = null;
    try {
      pause = await this.#asked(client, body, key, foundBy);
      return await this.#used(client, body, pause);
    } catch (error) {
      if (error instanceof SagaholdError) error.pause ??= pause;
      // Without a known decision, the next equal call must find the same pause.
      const decided = error instanceof SagaholdError && error.decision !== null;
      if (number !== null && !decided) calls.get(number[0])?.delete(number[1]);
      throw error;
    }
  }

  #body(): JsonObject {
    const { review, validFor = VALID_FOR, expiresIn, schema } = this.target.options;
    return protocol.draft(this.#action(), {
      arguments: this.#arguments,
      argumentsSchema: schema ?? schemaOf(this.#arguments),
      metadata: { client: { function: this.target.name } },
      review,
      validFor,
      expiresIn,
    });
  }

  #action(): string {
    const { action } = this.target.options;
    if (typeof action !== "string") return protocol.cut(action(...this.copy()), MAX_ACTION);
    const filled = action.replace(/\{(\w+)\}/g, (_, name: string) => {
      const value = Object.hasOwn(this.#arguments, name) ? this.#arguments[name] : undefined;
      if (value === undefined) {
        throw new TypeError(`the action of ${this.target.name} names ${name}, which is not in its arguments`);
      }
      return typeof value === "string" ? value : JSON.stringify(value);
    });
    return protocol.cut(filled, MAX_ACTION);
  }

  /**
   * Return the Idempotency-Key, the same as the name to find the pause by after a restart, and the number.
   *
   * With neither a key nor a run the call is known to this process only, because two equal refunds may both be
   * intended. In a run the first, the second, … equal call find the first, the second, … pause.
   */
  async #key(): Promise<{ key: string; foundBy: string | null; number: [string, number] | null }> {
    const call: JsonObject = { function: this.target.name, arguments: this.#arguments };
    const run = environment("SAGAHOLD_RUN_ID");
    let number: [string, number] | null = null;
    if (this.target.options.key !== undefined) {
      call["key"] = this.#givenKey();
    } else if (run !== "") {
      const equal = await digest({ ...call, run });
      const taken = calls.get(equal) ?? new Set();
      calls.set(equal, taken);
      let next = 0;
      while (taken.has(next)) next += 1;
      taken.add(next);
      number = [equal, next];
      Object.assign(call, { run, call: next });
    } else {
      return { key: `once-${protocol.randomName()}`, foundBy: null, number: null };
    }
    const name = `call-${await digest(call)}`;
    return { key: name, foundBy: name, number };
  }

  #givenKey(): string | number {
    const { key } = this.target.options;
    const found: unknown = typeof key === "function" ? key(...this.copy()) : key;
    if (typeof found === "string" ? found !== "" : Number.isSafeInteger(found)) return found as string | number;
    throw new TypeError(`the key of ${this.target.name} is ${String(found)}: it must be a text or an integer`);
  }

  async #asked(client: Client, body: JsonObject, key: string, foundBy: string | null): Promise<Pause> {
    if (foundBy !== null) {
      // The server forgets an Idempotency-Key a day after the decision; the name stays.
      const [[found]] = await protocol.page(client, { externalId: foundBy, limit: 1 }, new Budget(client.retryFor));
      if (found !== undefined) return found;
    }
    return protocol.request(client, body, key, new Budget(client.retryFor));
  }

  async #used(client: Client, body: JsonObject, found: Pause): Promise<Pause> {
    if (found.action !== body["action"] || !equal(found.postedArguments, this.#arguments)) {
      throw new UnexpectedResponse(
        `the pause of this key asks for something else, “${found.action}”: give the call another key`,
      );
    }
    let pause = found;
    if (pause.status === "pending") {
      client.logger.info(`“${pause.action}” waits for a decision: ${pause.reviewUrl}`);
      pause = await client.wait(pause);
    }
    if (pause.status !== "approved" || pause.consumedAt !== null) throw notUsable(pause);
    this.#checkFit(pause, pause.decision.arguments);
    // An answer that is lost would leave an approval that is used up, although nothing has run.
    return protocol.consume(client, pause, new Budget(null));
  }

  #checkFit(pause: Pause, approved: JsonObject | null): void {
    try {
      if (approved === null) throw new TypeError("there are none");
      if (this.target.options.schema === undefined) checkKinds(this.#arguments, approved);
      this.target.bind(approved, this.#given);
    } catch (error) {
      if (!(error instanceof TypeError)) throw error;
      const message = `the approved arguments do not fit ${this.target.name}: ${error.message}. Nothing runs.`;
      throw new UnexpectedResponse(`${message} See ${pause.reviewUrl}`, pause, { cause: error });
    }
  }
}

/** Return a JSON Schema that keeps an edit within the names and the types of the arguments. */
function schemaOf(given: JsonObject): object {
  const properties: Record<string, object> = {};
  for (const [name, value] of Object.entries(given)) properties[name] = value === null ? {} : { type: kindOf(value) };
  return { type: "object", properties, required: Object.keys(properties), additionalProperties: false };
}

function checkKinds(given: JsonObject, approved: JsonObject): void {
  const names = Object.keys(approved).sort().join(", ");
  if (names !== Object.keys(given).sort().join(", ")) throw new TypeError(`they are ${names || "none"}`);
  for (const [name, value] of Object.entries(given)) {
    const found = kindOf(approved[name] ?? null);
    if (value !== null && kindOf(value) !== found) throw new TypeError(`${name} is ${found}, not ${kindOf(value)}`);
  }
}

function kindOf(value: Json): string {
  if (value === null) return "null";
  if (Array.isArray(value)) return "array";
  return typeof value;
}
