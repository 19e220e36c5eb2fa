// Server-Sent Events of a pause, without I/O.

import { isObject, loads, type Json } from "./canonical-json.js";
import { UnexpectedResponse } from "./errors.js";
import { readPause, type Pause } from "./pauses.js";
import { backoff, isTransient, pathOf, read, type Answer, type Call } from "./protocol.js";

/** The seconds without a byte after which a connection is dead: the server sends a comment every 15 s. */
const SILENCE = 60;
const LINE_FEED = 10;

/** A change of a pause, such as `pause.created` or `pause.approved`. */
export interface PauseEvent {
  readonly type: string;
  readonly pause: Pause;
}

/** A reader of the chunks of any number of connections, each of which resumes after the last event. */
export class EventReader {
  done = false;
  #failures = 0;
  #lastId: string | undefined;
  #buffer = new Uint8Array();
  #fields = new Map<string, string>();

  constructor(private readonly watchId: string) {}

  /** Return the request of the next connection. */
  connect(signal?: AbortSignal): Call {
    this.#buffer = new Uint8Array();
    this.#fields.clear();
    const resume = this.#lastId === undefined ? {} : { "Last-Event-ID": this.#lastId };
    const headers = { Accept: "text/event-stream", ...resume };
    return { method: "GET", path: pathOf(this.watchId, "events"), headers, timeout: SILENCE, signal };
  }

  accepts(status: number, headers: Headers): boolean {
    return status === 200 && (headers.get("content-type") ?? "").startsWith("text/event-stream");
  }

  /** Return the seconds before the next connection. Throw an error if that cannot help. */
  delay(answer: Answer): number {
    if (!isTransient(answer)) {
      read(answer);
      throw new UnexpectedResponse("the server sent no event stream: check SAGAHOLD_URL, and proxies on the way");
    }
    this.#failures += 1;
    return backoff(this.#failures, answer);
  }

  async feed(chunk: Uint8Array): Promise<PauseEvent[]> {
    const events: PauseEvent[] = [];
    const bytes = new Uint8Array(this.#buffer.length + chunk.length);
    bytes.set(this.#buffer);
    bytes.set(chunk, this.#buffer.length);
    let start = 0;
    for (let end = bytes.indexOf(LINE_FEED); end >= 0; end = bytes.indexOf(LINE_FEED, start)) {
      const event = await this.#line(bytes.subarray(start, end));
      if (event !== null) events.push(event);
      start = end + 1;
    }
    this.#buffer = bytes.slice(start);
    return events;
  }

  async #line(bytes: Uint8Array): Promise<PauseEvent | null> {
    const line = new TextDecoder().decode(bytes).replace(/\r+$/, "");
    if (line !== "") {
      const colon = line.includes(":") ? line.indexOf(":") : line.length;
      this.#fields.set(line.slice(0, colon), line.slice(colon + 1).replace(/^ /, ""));
      return null;
    }
    const fields = new Map(this.#fields);
    this.#fields.clear();
    const data = fields.get("data");
    if (data === undefined) return null;
    this.#failures = 0;
    this.#lastId = fields.get("id") ?? this.#lastId;
    let document: Json;
    try {
      document = loads(new TextEncoder().encode(data));
    } catch (error) {
      if (!(error instanceof SyntaxError)) throw error;
      throw new UnexpectedResponse(`an event is not JSON: ${error.message}`, null, { cause: error });
    }
    const pause = await readPause(isObject(document) ? document["data"] : undefined, this.watchId);
    this.done = pause.status !== "pending";
    return { type: fields.get("event") ?? "message", pause };
  }
}
