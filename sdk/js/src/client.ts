// The client: one method for each step of a pause.

import { EventReader, type PauseEvent } from "./events.js";
import * as protocol from "./protocol.js";
import { Budget, type Answer, type Call, type Logger, type RequestOptions, type Transport } from "./protocol.js";
import type { ExecutionStatus, Pause } from "./pauses.js";

/** A stand-in for the server, such as the `FakeApprover` of `@sagahold/client/testing`. */
export interface Fake {
  answer(call: Call): Promise<Answer>;
}

/** While a fake is active, every client talks to it, and no client sleeps. */
export const activeFakes: Fake[] = [];

export interface ClientOptions {
  /** The server's address. The default is the environment's SAGAHOLD_URL. */
  url?: string | undefined;
  /** A key of role agent. The default is the environment's SAGAHOLD_API_KEY. */
  apiKey?: string | undefined;
  /** The seconds after which a server that does not answer is `NotReachable`; `wait` goes on. The default is 60. */
  retryFor?: number | undefined;
  /** The default is the global `fetch`. */
  fetch?: typeof globalThis.fetch | undefined;
  /** The default writes warnings and errors to the console. */
  logger?: Logger | undefined;
}

/** The filters of a list, by their names in the API. */
export interface ListFilters {
  status?: Pause["status"] | undefined;
  /** With `status: "approved"`, `false` lists the approvals that no process has used yet. */
  consumed?: boolean | undefined;
  externalId?: string | undefined;
  /** The pauses of one page. */
  limit?: number | undefined;
  [filter: string]: string | number | boolean | undefined;
}

const CONSOLE: Logger = {
  info() {},
  warn: (message) => console.warn(`sagahold: ${message}`),
  error: (message) => console.error(`sagahold: ${message}`),
};

export class Client implements Transport {
  readonly url: string;
  readonly retryFor: number;
  readonly logger: Logger;
  readonly #fetch: typeof globalThis.fetch | undefined;
  readonly #headers: Readonly<Record<string, string>>;

  constructor(options: ClientOptions = {}) {
    this.url = (options.url || environment("SAGAHOLD_URL")).replace(/\/+$/, "");
    const apiKey = (options.apiKey || environment("SAGAHOLD_API_KEY")).trim();
    if (activeFakes.length === 0 && !isAddress(this.url)) {
      throw new TypeError("set SAGAHOLD_URL, or pass url: the address of Sagahold, such as http://127.0.0.1:8000");
    }
    if (!/^[ -~]*$/.test(apiKey)) {
      throw new TypeError("SAGAHOLD_API_KEY or apiKey has characters that no key has: copy it again");
    }
    this.retryFor = options.retryFor ?? 60;
    this.logger = options.logger ?? CONSOLE;
    this.#fetch = options.fetch;
    // A browser sets its own User-Agent.
    const agent: Record<string, string> = "document" in globalThis ? {} : { "User-Agent": "sagahold-js" };
    this.#headers = { ...agent, ...(apiKey === "" ? {} : { Authorization: `Bearer ${apiKey}` }) };
  }

  /**
   * Ask for a decision, and return the pause at once.
   *
   * `key` is the Idempotency-Key, 8 to 128 characters. The same key and request give the same pause.
   */
  async request(action: string, options: RequestOptions & { key?: string | undefined } = {}): Promise<Pause> {
    const { key, ...fields } = options;
    const body = protocol.draft(action, fields);
    return protocol.request(this, body, key ?? protocol.randomName(), this.#budget());
  }

  async get(pause: Pause | string): Promise<Pause> {
    return protocol.get(this, pause, this.#budget());
  }

  /**
   * Wait until the pause is decided, also while the server is away. Throw `StillPending` after the timeout, in seconds.
   */
  async wait(
    pause: Pause | string,
    options: { timeout?: number | undefined; signal?: AbortSignal | undefined } = {},
  ): Promise<Pause> {
    return protocol.wait(this, pause, new Budget(options.timeout ?? null), options.signal);
  }

  /** Use the approval, directly before the action runs. Throw an error if it cannot be used (any more). */
  async consume(pause: Pause): Promise<Pause> {
    return protocol.consume(this, pause, this.#budget());
  }

  /** Report what happened after `consume`. The first report is final. */
  async outcome(
    pause: Pause | string,
    status: ExecutionStatus,
    report: { note?: string | undefined; result?: unknown } = {},
  ): Promise<Pause> {
    return protocol.outcome(this, pause, status, report.note, report.result, this.#budget());
  }

  /** Take the request back. Throw `RequestError` if it is decided already. */
  async cancel(pause: Pause | string, comment?: string): Promise<Pause> {
    return protocol.cancel(this, pause, comment, this.#budget());
  }

  /** Yield this agent's pauses, the newest first: `list({ status: "approved", consumed: false })`. */
  async *list(filters: ListFilters = {}): AsyncGenerator<Pause, void, undefined> {
    let cursor: string | null = null;
    do {
      const [found, next]: [Pause[], string | null] = await protocol.page(this, { ...filters, cursor }, this.#budget());
      yield* found;
      cursor = next;
    } while (cursor !== null);
  }

  /** Yield the events of the pause until it is decided, through any outage of the server. */
  async *events(
    pause: Pause | string,
    options: { signal?: AbortSignal | undefined } = {},
  ): AsyncGenerator<PauseEvent, void, undefined> {
    const reader = new EventReader(protocol.idOf(pause));
    while (!reader.done) {
      const answer = yield* this.#stream(reader, reader.connect(options.signal));
      if (!reader.done) await this.sleep(reader.delay(answer), options.signal);
    }
  }

  async *#stream(reader: EventReader, call: Call): AsyncGenerator<PauseEvent, Answer, undefined> {
    call.signal?.throwIfAborted();
    const fake = activeFakes.at(-1);
    if (fake !== undefined) {
      const answer = await fake.answer(call);
      if (answer.status === 200) yield* await reader.feed(answer.body);
      return answer;
    }
    const timer = new Timer(call);
    try {
      const response = await this.#fetched(call, timer.signal).catch((error: unknown) => lost(error, call, timer));
      if (!(response instanceof Response)) return response;
      if (!reader.accepts(response.status, response.headers)) return await answered(response, timer);
      const chunks = (response.body as ReadableStream<Uint8Array>).getReader();
      for (;;) {
        const chunk = await chunks.read().catch((error: unknown) => lost(error, call, timer));
        if ("status" in chunk) return chunk;
        // The server ends a stream after some minutes.
        if (chunk.done) return lost(new Error("the stream ended"), call, timer);
        timer.restart();
        yield* await reader.feed(chunk.value);
      }
    } finally {
      timer.abort();
    }
  }

  /** Send one request. The answer of a server that cannot be reached has status 0. */
  async send(call: Call): Promise<Answer> {
    call.signal?.throwIfAborted();
    const fake = activeFakes.at(-1);
    if (fake !== undefined) return fake.answer(call);
    const timer = new Timer(call);
    try {
      return await answered(await this.#fetched(call, timer.signal), timer);
    } catch (error) {
      return lost(error, call, timer);
    } finally {
      timer.abort();
    }
  }

  async sleep(seconds: number, signal?: AbortSignal): Promise<void> {
    if (activeFakes.length > 0) return;
    await new Promise<void>((resolve, reject) => {
      const abort = (): void => {
        clearTimeout(timeout);
        reject(signal?.reason);
      };
      const timeout = setTimeout(() => {
        signal?.removeEventListener("abort", abort);
        resolve();
      }, seconds * 1000);
      if (signal?.aborted) abort();
      signal?.addEventListener("abort", abort, { once: true });
    });
  }

  async #fetched(call: Call, signal: AbortSignal): Promise<Response> {
    const query = new URLSearchParams(call.params).toString();
    const fetch = this.#fetch ?? globalThis.fetch;
    return fetch(`${this.url}${call.path}${query === "" ? "" : `?${query}`}`, {
      method: call.method,
      headers: { ...this.#headers, ...call.headers },
      body: call.body ?? null,
      redirect: "manual",
      credentials: "omit",
      cache: "no-store",
      signal,
    });
  }

  #budget(): Budget {
    return new Budget(this.retryFor);
  }
}

/** The time of one request, which ends at its timeout or when its caller aborts. */
class Timer {
  readonly #began = performance.now();
  readonly #controller = new AbortController();
  readonly #milliseconds: number;
  readonly #stop = (): void => this.#controller.abort(this.#caller?.reason);
  readonly #caller: AbortSignal | undefined;
  #timeout: ReturnType<typeof setTimeout> | undefined;

  constructor(call: Call) {
    this.#milliseconds = (call.timeout ?? 30) * 1000;
    this.#caller = call.signal;
    this.#caller?.addEventListener("abort", this.#stop, { once: true });
    this.restart();
    if (this.#caller?.aborted) this.#stop();
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  get elapsed(): number {
    return (performance.now() - this.#began) / 1000;
  }

  restart(): void {
    clearTimeout(this.#timeout);
    const late = (): void => this.#controller.abort(new DOMException("the answer is late", "TimeoutError"));
    this.#timeout = setTimeout(late, this.#milliseconds);
  }

  abort(): void {
    clearTimeout(this.#timeout);
    this.#caller?.removeEventListener("abort", this.#stop);
    this.#controller.abort();
  }
}

async function answered(response: Response, timer: Timer): Promise<Answer> {
  // A browser hides the status of a redirect.
  const status = response.type === "opaqueredirect" ? 302 : response.status;
  const body = new Uint8Array(await response.arrayBuffer());
  return { status, body, headers: response.headers, elapsed: timer.elapsed };
}

/** Return the answer that represents a failure of the network. Throw the reason if the caller has aborted. */
function lost(error: unknown, call: Call, timer: Timer): Answer {
  call.signal?.throwIfAborted();
  const cause: unknown = error instanceof Error ? (error.cause ?? error) : error;
  const code = String((cause as { code?: unknown } | null)?.code ?? "");
  // A body that cannot be decoded is an answer, though not a usable one.
  const status = code.startsWith("Z_") || code.startsWith("ERR_BROTLI") ? 200 : 0;
  return { status, body: new TextEncoder().encode(String(cause)), headers: new Headers(), elapsed: timer.elapsed };
}

function isAddress(url: string): boolean {
  try {
    const parsed = new URL(url);
    return ["http:", "https:"].includes(parsed.protocol) && parsed.host !== "" && parsed.username === "";
  } catch {
    return false;
  }
}

/** Return a variable of the environment. A browser has none. */
export function environment(name: string): string {
  const { process } = globalThis as { process?: { env?: Record<string, string | undefined> } };
  return process?.env?.[name] ?? "";
}
