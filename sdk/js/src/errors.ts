// Errors. Each has the pause, if there is one, and says what happened and what to do next.

import type { Decision, Outcome, Pause } from "./pauses.js";

/** Base of all errors of this package. The action did not run, unless the class says otherwise. */
export class SagaholdError extends Error {
  override readonly name: string = "SagaholdError";
  pause: Pause | null;

  constructor(message: string, pause: Pause | null = null, options?: ErrorOptions) {
    super(message, options);
    this.pause = pause;
  }

  get decision(): Decision | null {
    return this.pause?.decision ?? null;
  }
}

/** Base of the errors for an action that has no usable approval. */
export class NotApproved extends SagaholdError {
  override readonly name: string = "NotApproved";
}

/** A reviewer has rejected the action. */
export class Rejected extends NotApproved {
  override readonly name = "Rejected";
}

/** The time for a decision ran out. */
export class Expired extends NotApproved {
  override readonly name = "Expired";
}

/** The agent has taken the request back. */
export class Cancelled extends NotApproved {
  override readonly name = "Cancelled";
}

/** The action was approved, but the approval was not used within its time. */
export class ApprovalExpired extends NotApproved {
  override readonly name = "ApprovalExpired";
}

/** The decision did not come within the timeout. The pause still waits for it. */
export class StillPending extends NotApproved {
  override readonly name = "StillPending";
}

/** The approval was used before. `outcome` has the report of that run; null means that its result is unknown. */
export class AlreadyUsed extends SagaholdError {
  override readonly name = "AlreadyUsed";

  get outcome(): Outcome | null {
    return this.pause?.outcome ?? null;
  }
}

/** The server gave no usable answer for too long. */
export class NotReachable extends SagaholdError {
  override readonly name = "NotReachable";
}

/** The server's answer is not what its API promises, so it counts as no approval. */
export class UnexpectedResponse extends SagaholdError {
  override readonly name = "UnexpectedResponse";
}

/** The webhook is not from this server, is too old, or has changed on the way. */
export class InvalidWebhook extends SagaholdError {
  override readonly name = "InvalidWebhook";
}

/** The server refused the request (RFC 9457 problem). Branch on `code`; `errors` names invalid fields. */
export class RequestError extends SagaholdError {
  override readonly name = "RequestError";

  constructor(
    readonly status: number,
    readonly code: string,
    readonly detail: string,
    readonly errors: readonly unknown[] = [],
  ) {
    super(`${detail} (${status} ${code})`);
  }
}

/** Return the error that tells why the pause permits nothing to run (any more). */
export function notUsable(pause: Pause): SagaholdError {
  const name = `“${pause.action}”`;
  const where = `See ${pause.reviewUrl}`;
  if (pause.consumedAt !== null) return new AlreadyUsed(`${name} ${use(pause, pause.consumedAt)} ${where}`, pause);
  const decision = pause.decision;
  const by = decision === null || decision.decidedBy === "system" ? "the deadline" : decision.decidedByName;
  const why = decision?.comment ? `: ${decision.comment}` : "";
  switch (pause.status) {
    case "rejected":
      return new Rejected(`${name} was rejected by ${by}${why}. Do not run it. ${where}`, pause);
    case "expired":
      return new Expired(`${name} did not get a decision in time. To ask again, use another key. ${where}`, pause);
    case "cancelled":
      return new Cancelled(`${name} was cancelled${why}. To ask again, use another key. ${where}`, pause);
    case "pending":
      return new StillPending(`${name} still waits for a decision. ${where}`, pause);
    case "approved":
      return new ApprovalExpired(
        `${name} was approved by ${by}, but the approval was valid only until ${decision?.validUntil}. ` +
          `To ask again, use another key; a larger validFor leaves more time. ${where}`,
        pause,
      );
  }
}

function use(pause: Pause, consumedAt: string): string {
  if (pause.outcome === null) {
    return (
      `was started at ${consumedAt}, and its result is unknown: the process may have died, or may still run. ` +
      "It does not run again. Find out whether the action took place, then report it: " +
      `client.outcome("${pause.watchId}", "succeeded") or "failed". Use another key only if it must run again.`
    );
  }
  if (pause.outcome.status === "unknown") {
    return `was started at ${consumedAt}, and its result was reported as unknown. Find out whether it took place.`;
  }
  return `was run at ${consumedAt} and ${pause.outcome.status}. It does not run again; another key asks again.`;
}
