// The run of an approved action, and the report of its outcome.

import type { Client } from "./client.js";
import * as protocol from "./protocol.js";
import { Budget } from "./protocol.js";
import type { ExecutionStatus, Pause } from "./pauses.js";

/** The function returned before its action ended. */
class Unfinished extends TypeError {}

/** Run the action of a pause whose approval was used just now, report its outcome, and return its result. */
export async function runApproved<R>(
  client: Client,
  pause: Pause,
  name: string,
  run: () => R,
  unknownOn?: (error: unknown) => boolean,
): Promise<Awaited<R>> {
  let result: Awaited<R>;
  try {
    result = await run();
    if (isIterator(result)) throw new Unfinished(`${name} returned an iterator: await its end inside`);
  } catch (error) {
    await report(client, pause, failure(error, unknownOn), describe(error));
    throw error;
  }
  await report(client, pause, "succeeded");
  return result;
}

/** Return the status to report. An interrupted function may have acted or not. */
function failure(error: unknown, unknownOn: ((error: unknown) => boolean) | undefined): ExecutionStatus {
  const interrupted = error instanceof Error && ["AbortError", "TimeoutError"].includes(error.name);
  if (interrupted || error instanceof Unfinished) return "unknown";
  try {
    return unknownOn?.(error) ? "unknown" : "failed";
  } catch {
    return "unknown";
  }
}

/** Report the outcome. An error is only logged, because the function has run and its caller needs the result. */
async function report(client: Client, pause: Pause, status: ExecutionStatus, note?: string): Promise<void> {
  try {
    await protocol.outcome(client, pause, status, note, undefined, new Budget(client.retryFor));
  } catch (error) {
    client.logger.error(`the outcome ${status} of ${pause.watchId} is not reported: ${describe(error)}`);
  }
}

function describe(error: unknown): string {
  try {
    return error instanceof Error ? `${error.name}: ${error.message}` : String(error);
  } catch {
    return "an error that has no text";
  }
}

function isIterator(value: unknown): boolean {
  if (typeof value !== "object" || value === null || !("next" in value)) return false;
  return typeof value.next === "function" && (Symbol.iterator in value || Symbol.asyncIterator in value);
}

/** Throw `TypeError` if the function runs in pieces. */
export function checkNoGenerator(fn: unknown, name: string): void {
  const kind = Object.prototype.toString.call(fn);
  if (kind === "[object GeneratorFunction]" || kind === "[object AsyncGeneratorFunction]") {
    throw new TypeError(`${name} is a generator, which runs in pieces: hold a function that it calls`);
  }
}
