// A reviewer for tests of agent code. It needs no server, and the SDK behaves as it does with one.

import { digest, isObject, type Json, type JsonObject } from "./canonical-json.js";
import { activeFakes, type Fake } from "./client.js";
import { readPause, type Pause } from "./pauses.js";
import { randomName, type Answer, type Call } from "./protocol.js";

const NOW = "2026-01-01T00:00:00.000Z";

interface Plan {
  outcome: "approved" | "rejected" | "expired" | "cancelled";
  comment?: string | undefined;
  response?: Json | undefined;
  arguments?: JsonObject | undefined;
  late?: boolean;
}

/**
 * A reviewer that decides as the test has said, in the order in which the code asks, and approves all other pauses.
 *
 * Between `start` and `stop`, every client talks to it instead of a server, and no client sleeps.
 */
export class FakeApprover implements Fake {
  /** The body of each new request, by the names of the API. */
  readonly requests: JsonObject[] = [];
  readonly #plans: Plan[] = [];
  readonly #documents = new Map<string, JsonObject>();
  /** The body and the watchId of each Idempotency-Key. */
  readonly #keys = new Map<string, [string | undefined, string]>();
  /** The key of each consume, by watchId. */
  readonly #users = new Map<string, string>();
  #outages = 0;

  start(): this {
    activeFakes.push(this);
    return this;
  }

  stop(): void {
    const place = activeFakes.lastIndexOf(this);
    if (place >= 0) activeFakes.splice(place, 1);
  }

  approve(options: { comment?: string; response?: Json } = {}): void {
    this.#plans.push({ outcome: "approved", ...options });
  }

  /** Approve with these arguments changed. */
  edit(changed: JsonObject, comment?: string): void {
    this.#plans.push({ outcome: "approved", arguments: changed, comment });
  }

  reject(comment?: string): void {
    this.#plans.push({ outcome: "rejected", comment });
  }

  /** Let the time for a decision run out. */
  expire(): void {
    this.#plans.push({ outcome: "expired" });
  }

  cancel(): void {
    this.#plans.push({ outcome: "cancelled" });
  }

  /** Approve, and let the approval expire before it is used. */
  approveTooEarly(): void {
    this.#plans.push({ outcome: "approved", late: true });
  }

  /** Answer none of the next requests, as if the network was down. 0 ends the outage. */
  disconnect(requests: number): void {
    this.#outages = requests;
  }

  /** Return the pauses so far, in the order in which the code asked. */
  async pauses(): Promise<Pause[]> {
    return Promise.all(Array.from(this.#documents.values(), (document) => readPause(document)));
  }

  async answer(call: Call): Promise<Answer> {
    if (this.#outages > 0) {
      this.#outages -= 1;
      return sent(0, "FakeApprover is disconnected");
    }
    const body = JSON.parse(call.body ?? "{}") as JsonObject;
    const [watchId, verb] = call.path.split("/").slice(3).map(decodeURIComponent);
    if (watchId === undefined) return call.method === "POST" ? this.#create(call, body) : this.#list(call);
    const document = this.#documents.get(watchId);
    if (document === undefined) return problem(404, "NOT_FOUND", `“${watchId}” is not the id of a pause`);
    switch (verb) {
      case "events":
        return stream(document);
      case "consume":
        return this.#consume(watchId, document, call.headers?.["Idempotency-Key"] ?? "", body);
      case "outcome":
        return report(document, body);
      case "cancel":
        return problem(409, "ALREADY_RESOLVED", `the pause is ${String(document["status"])}`);
      default:
        return ok(document);
    }
  }

  async #create(call: Call, body: JsonObject): Promise<Answer> {
    const key = call.headers?.["Idempotency-Key"] ?? "";
    const [known, watchId] = this.#keys.get(key) ?? [call.body, `wch_${randomName()}`];
    this.#keys.set(key, [known, watchId]);
    if (known !== call.body) return problem(422, "IDEMPOTENCY_KEY_REUSED", "the key was used for another request");
    let document = this.#documents.get(watchId);
    if (document === undefined) {
      this.requests.push(body);
      document = await decided(watchId, body, this.#plans.shift() ?? { outcome: "approved" });
      this.#documents.set(watchId, document);
    }
    return ok(document);
  }

  #list(call: Call): Answer {
    const { status, externalId, consumed } = call.params ?? {};
    const items = [...this.#documents.values()]
      .reverse()
      .filter((document) => status === undefined || document["status"] === status)
      .filter((document) => externalId === undefined || document["externalId"] === externalId)
      .filter((document) => consumed === undefined || String("consumption" in document) === consumed);
    return ok({ items, next_cursor: null });
  }

  #consume(watchId: string, document: JsonObject, key: string, body: JsonObject): Answer {
    const status = String(document["status"]);
    if (status !== "approved") return problem(409, "NOT_APPROVED", `the pause is ${status}`);
    if ((document["decision"] as JsonObject)["validUntil"] !== null) {
      return problem(409, "APPROVAL_EXPIRED", "the approval was not used in time");
    }
    if ((body["argumentsDigest"] ?? document["argumentsDigest"]) !== document["argumentsDigest"]) {
      return problem(409, "ARGUMENTS_CHANGED", "these are not the approved arguments");
    }
    if ((this.#users.get(watchId) ?? key) !== key) {
      return problem(409, "ALREADY_CONSUMED", "the approval was used before");
    }
    this.#users.set(watchId, key);
    document["consumption"] ??= { consumedAt: NOW };
    return ok(document);
  }
}

async function decided(watchId: string, body: JsonObject, plan: Plan): Promise<JsonObject> {
  const posted = isObject(body["arguments"]) ? body["arguments"] : null;
  const edited = posted && { ...posted, ...plan.arguments };
  const decision = {
    outcome: plan.outcome,
    decidedBy: plan.outcome === "expired" ? "system" : "fake-approver",
    decidedAt: NOW,
    comment: plan.comment ?? null,
    arguments: edited,
    response: plan.response ?? null,
    validUntil: plan.late ? NOW : null,
  };
  return {
    watchId,
    status: plan.outcome,
    agentContext: { action: body["action"] ?? null, context: body["context"] ?? {}, arguments: edited },
    postedArguments: posted,
    argumentsDigest: edited && (await digest(edited)),
    revision: 1,
    reviewUrl: `http://fake-approver/review/${watchId}`,
    decision,
    externalId: body["externalId"] ?? null,
    metadata: body["metadata"] ?? {},
  };
}

function report(document: JsonObject, body: JsonObject): Answer {
  const consumption = document["consumption"];
  if (!isObject(consumption)) return problem(409, "NOT_CONSUMED", "consume the approval first");
  consumption["outcome"] ??= { ...body, reportedAt: NOW };
  const first = JSON.stringify(consumption["outcome"]);
  if (first !== JSON.stringify({ ...body, reportedAt: NOW })) {
    return problem(409, "OUTCOME_CONFLICT", "another outcome was reported");
  }
  return ok(document);
}

function stream(document: JsonObject): Answer {
  const type = `pause.${String(document["status"])}`;
  const event = JSON.stringify({ type, timestamp: NOW, data: document });
  return sent(200, `id: 2\nevent: ${type}\ndata: ${event}\n\n`);
}

function ok(document: JsonObject): Answer {
  return sent(200, JSON.stringify(document));
}

function problem(status: number, code: string, detail: string): Answer {
  return sent(status, JSON.stringify({ status, code, detail }));
}

function sent(status: number, body: string): Answer {
  return { status, body: new TextEncoder().encode(body), headers: new Headers(), elapsed: 0 };
}

