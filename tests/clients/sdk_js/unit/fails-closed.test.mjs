// A server, a proxy or a network that does anything unexpected never makes a function run.
import assert from "node:assert/strict";
import { createServer } from "node:net";
import { mock, test } from "node:test";
import * as sagahold from "@sagahold/client";
import { FakeApprover } from "@sagahold/client/testing";
import { EventReader } from "../node_modules/@sagahold/client/dist/events.js";
import { Budget, backoff, get, retryAfter, wait } from "../node_modules/@sagahold/client/dist/protocol.js";
import { altered, lines, text, verbOf, withServer } from "./support.mjs";

const { Client, requireApproval } = sagahold;
const fixed = (status, body = "", headers = {}) => () => ({ status, body, headers });
const replaced = (from, to) => (answer) => ({ ...answer, body: answer.body.replace(from, to) });
const OTHER = { order: "A-1", cents: 1_000_000 };
const BROKEN = {
  "an empty body": fixed(200),
  "a page of a proxy": fixed(200, "<html>Please sign in</html>"),
  "a list": fixed(200, "[]"),
  text: fixed(200, '"approved"'),
  "an empty object": fixed(200, "{}"),
  "only a status": fixed(200, '{"status": "approved"}'),
  "a truncated body": (answer) => ({ ...answer, body: answer.body.slice(0, -9) }),
  "a repeated name": (answer) => ({ ...answer, body: `${answer.body.slice(0, -1)}, "status": "approved"}` }),
  NaN: replaced('"revision":1', '"revision":NaN'),
  "not UTF-8": (answer) => ({ ...answer, body: Buffer.from(answer.body.replace("A-1", "\xff-1"), "latin1") }),
  "not gzip": (answer) => ({ ...answer, headers: { "Content-Encoding": "gzip" } }),
  "no content": fixed(204),
  accepted: (answer) => ({ ...answer, status: 202 }),
  "a redirect": (answer) => ({ ...answer, status: 302, headers: { Location: "https://example.org/" } }),
  "a permanent redirect": (answer) => ({ ...answer, status: 308, headers: { Location: "/api/pause" } }),
  "an error that is not JSON": fixed(404, "not here"),
  "an error in another form": fixed(400, '{"message": "no"}'),
  "an unknown status": altered({ status: "approved_by_ai" }),
  "a status of another type": altered({ status: true }),
  "a status in a list": altered({ status: ["approved"] }),
  "a status without its decision": altered({ decision: null }),
  "a decision that says otherwise": altered({ "decision.outcome": "rejected" }),
  "a decision of another type": altered({ decision: "approved" }),
  "another pause": altered({ watchId: `wch_${"0".repeat(32)}` }),
  "other approved arguments": altered({ "decision.arguments": OTHER }),
  "another digest": altered({ argumentsDigest: "0".repeat(64) }),
  "no digest": altered({ argumentsDigest: null }),
  "no arguments": altered({ "decision.arguments": null }),
  "neither arguments nor digest": altered({ "decision.arguments": null, argumentsDigest: null }),
  "arguments of another type": altered({ "decision.arguments": ["A-1", 5] }),
  "a number that no digest has": replaced('"cents":5', '"cents":1e999'),
  "another action": altered({ "agentContext.action": "Refund 1 for A-1" }),
  "other posted arguments": altered({ postedArguments: OTHER }),
  "a feature that the server does not know": altered({ unreadable: ["review"] }),
  "a revision of another type": altered({ revision: "1" }),
};

function agent(url, options = {}) {
  const ran = [];
  const logger = lines();
  const client = new Client({ url, apiKey: "hitl_secret", logger, ...options });
  client.sleep = async () => {};
  const refund = requireApproval(async ({ order, cents }) => void ran.push([order, cents]), {
    name: "refund",
    action: "Refund {cents} for {order}",
    key: "k",
    client,
  });
  return { client, logger, ran, refund: () => refund({ order: "A-1", cents: 5 }) };
}

for (const place of ["request", "consume"]) {
  for (const [name, broken] of Object.entries(BROKEN)) {
    test(`a broken answer runs nothing: ${name}, ${place}`, async () => {
      const change = (call, answer) => (verbOf(call) === place ? broken(answer) : answer);
      await withServer(change, async (url) => {
        const { ran, refund } = agent(url);
        await assert.rejects(refund(), (error) => {
          assert.ok(error instanceof sagahold.SagaholdError, error);
          assert.ok(!(error instanceof sagahold.NotApproved || error instanceof sagahold.NotReachable), error);
          assert.ok(place === "request" || error.decision !== null);
          assert.ok(!error.message.includes("hitl_secret"));
          return true;
        });
        assert.deepEqual(ran, []);
      });
    });
  }
}

const onlyAt = (place, change) => (call, answer) => (verbOf(call) === place ? change(answer) : answer);
const onPosts = (change) => (call, answer) => (call.method === "POST" ? change(answer) : answer);
for (const [name, change] of Object.entries({
  "a use that is not confirmed": onlyAt("consume", altered({ consumption: null })),
  "other posted arguments everywhere": onPosts(altered({ postedArguments: OTHER })),
  "another action everywhere": onPosts(altered({ "agentContext.action": "x" })),
})) {
  test(`an answer that is a pause, but not the right one, runs nothing: ${name}`, async () => {
    await withServer(change, async (url) => {
      const { ran, refund } = agent(url);
      await assert.rejects(refund(), sagahold.UnexpectedResponse);
      assert.deepEqual(ran, []);
    });
  });
}

// These are pauses too, though not the one that was asked for; `fetch` finds the broken encoding.
const OTHERS = ["another action", "other posted arguments", "neither arguments nor digest", "not gzip"];

for (const [name, broken] of Object.entries(BROKEN).filter(([each]) => !OTHERS.includes(each))) {
  test(`a broken answer is an error of its own: ${name}`, async () => {
    const approver = new FakeApprover().start();
    const made = await new Client().request("Refund 5 for A-1", { arguments: { order: "A-1", cents: 5 } });
    approver.stop();
    const sent = await approver.answer({ method: "GET", path: `/api/pause/${made.watchId}` });
    const { status, body, headers = {} } = broken({ status: 200, body: text(sent) });
    const answer = { status, body: Buffer.from(body), headers: new Headers(headers), elapsed: 0 };
    await assert.rejects(get({ send: async () => answer }, made, new Budget(0)), sagahold.UnexpectedResponse);
  });
}

for (const status of [408, 425, 429, 500, 502, 503, 504, 599, null]) {
  for (const place of ["request", "wait", "consume", "outcome"]) {
    test(`an outage is waited out: ${status}, ${place}`, async () => {
      // The effect of the first attempt may have happened; it happens once.
      const keys = [];
      const change = (call, answer) => {
        if (verbOf(call) === place && keys.length < 3) {
          keys.push(call.headers["Idempotency-Key"]);
          return status === null ? null : { status, body: "<html>", headers: {} };
        }
        return verbOf(call) === "request" ? altered({ status: "pending", decision: null })(answer) : answer;
      };
      await withServer(change, async (url, approver) => {
        const { ran, refund } = agent(url);
        await refund();
        assert.deepEqual(ran, [["A-1", 5]]);
        assert.equal(keys.length, 3);
        assert.equal(new Set(keys).size, 1);
        const [pause, ...others] = await approver.pauses();
        assert.deepEqual([others, pause.outcome.status], [[], "succeeded"]);
      });
    });
  }
}

test("each attempt to use an approval has a key of its own", async () => {
  const keys = [];
  const change = (call, answer) => {
    if (verbOf(call) === "consume") keys.push(call.headers["Idempotency-Key"]);
    return answer;
  };
  await withServer(change, async (url) => {
    const { client } = agent(url);
    const pause = await client.request("x");
    await client.consume(pause);
    await assert.rejects(client.consume(pause), sagahold.AlreadyUsed);
  });
  assert.equal(new Set(keys).size, 2);
});

test("a server that is not there", async () => {
  const probe = createServer();
  await new Promise((listening) => probe.listen(0, "127.0.0.1", listening));
  const { port } = probe.address();
  await new Promise((closed) => probe.close(closed));
  const { client } = agent(`http://127.0.0.1:${port}`, { retryFor: 0 });
  await assert.rejects(client.request("x"), { name: "NotReachable", message: /ECONNREFUSED.*check SAGAHOLD_URL/ });
});

test("an answer that is late counts as none, and a caller may abort", async () => {
  const silent = (_, { signal }) => {
    return new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
  };
  const { client, logger } = agent("http://127.0.0.1:1", { fetch: silent });
  const late = await client.send({ method: "GET", path: "/", timeout: 0.001 });
  assert.deepEqual([late.status, text(late)], [0, "TimeoutError: the answer is late"]);
  const controller = new AbortController();
  const waits = client.wait("wch_1", { signal: controller.signal });
  controller.abort(new Error("enough"));
  await assert.rejects(waits, /enough/);
  await assert.rejects(client.wait("wch_1", { signal: controller.signal }), /enough/);
  assert.deepEqual(logger.written, []);
});

test("a caller who has aborted already sends nothing", async () => {
  const sent = [];
  const signal = AbortSignal.abort(new Error("enough"));
  const fetch = async (url) => (sent.push(url), new Response("", { status: 404 }));
  const { client } = agent("http://127.0.0.1:1", { fetch });
  const approver = new FakeApprover();
  approver.answer = async (call) => (sent.push(call), fixed(404)());
  const each = async () => {
    await assert.rejects(client.events("wch_1", { signal }).next(), /enough/);
    await assert.rejects(client.wait("wch_1", { signal }), /enough/);
    assert.deepEqual(sent, []);
  };
  await each();
  approver.start();
  await each().finally(() => approver.stop());
});

test("a caller may abort between two attempts", async () => {
  const controller = new AbortController();
  const warn = () => queueMicrotask(() => controller.abort(new Error("enough")));
  const busy = async () => new Response("", { status: 503 });
  const client = new Client({ url: "http://127.0.0.1:1", logger: { ...lines(), warn }, fetch: busy });
  await assert.rejects(client.wait("wch_1", { signal: controller.signal }), /enough/);
});

const NO_SERVER = ["ftp://example.org", "127.0.0.1:8000", "example.org", "http://", "http://x:port", "http://me:pw@x"];
for (const url of ["", ...NO_SERVER]) {
  test(`an address that is none: ${url}`, () => {
    assert.throws(() => new Client({ url }), { name: "TypeError", message: /set SAGAHOLD_URL, or pass url/ });
  });
}

test("keys that are none", async () => {
  assert.throws(() => new Client({ url: "http://127.0.0.1:1", apiKey: "hitl_\nx" }), /copy it again/);
  const client = new Client({ url: "http://127.0.0.1:1", apiKey: "hitl_x\n" });
  await assert.rejects(client.request("x", { key: "a b c d e f" }), /8 to 128/);
});

const NO_DELAY = ["-3", "soon", "", "Fri, 99 Nov", "1.5"].map((value) => [value, null]);
for (const [value, seconds] of [["7", 7], ["999999999999", 3600], ...NO_DELAY]) {
  test(`Retry-After: ${value}`, () => {
    const answer = { status: 503, body: new Uint8Array(), headers: new Headers({ "Retry-After": value }), elapsed: 0 };
    assert.equal(retryAfter(answer), seconds);
    assert.ok(backoff(0, answer) >= (seconds ?? 0.4));
  });
}

test("Retry-After with a date", () => {
  mock.timers.enable({ apis: ["Date"], now: 1_800_000_000_000 });
  const after = (seconds) => new Headers({ "Retry-After": new Date(Date.now() + seconds * 1000).toUTCString() });
  assert.equal(retryAfter({ headers: after(100) }), 100);
  assert.equal(retryAfter({ headers: after(-86_400) }), 0);
  mock.timers.reset();
});

test("the wait honours Retry-After and its timeout", async () => {
  const approver = new FakeApprover().start();
  const made = await new Client().request("x");
  approver.stop();
  const sent = await approver.answer({ method: "GET", path: `/api/pause/${made.watchId}` });
  const pending = altered({ status: "pending", decision: null })({ body: text(sent) }).body;
  const answers = [
    [503, { "retry-after": "20" }, 5],
    [200, { "retry-after": "2" }, 0.1],
    ...[0.25, 60, 41].map((elapsed) => [200, {}, elapsed]),
  ];
  const steps = [];
  const transport = {
    logger: lines(),
    send: async (call) => {
      steps.push([call.params.wait, call.timeout]);
      const [status, headers, elapsed] = answers.shift();
      return { status, body: Buffer.from(pending), headers: new Headers(headers), elapsed };
    },
    sleep: async (seconds) => void steps.push(seconds),
  };
  await assert.rejects(wait(transport, made, new Budget(130)), sagahold.StillPending);
  assert.deepEqual(steps, [["60", 75], 20, ["60", 75], 2, ["60", 75], 0.75, ["60", 75], 0, ["41", 56]]);
});

test("events come in chunks of any size", async () => {
  const approver = new FakeApprover().start();
  const made = await new Client().request("one\u2028two");
  approver.stop();
  const stream = text(await approver.answer({ method: "GET", path: `/api/pause/${made.watchId}/events` }));
  const reader = new EventReader(made.watchId);
  const found = [];
  for (const byte of new TextEncoder().encode(`: hello\r\n\r\n${stream}`)) {
    found.push(...(await reader.feed(Uint8Array.of(byte))));
  }
  assert.deepEqual(found.map((event) => [event.type, event.pause.action]), [["pause.approved", "one\u2028two"]]);
  assert.ok(reader.done);
  assert.equal(reader.connect().headers["Last-Event-ID"], "2");
});

test("events through an outage", async () => {
  const attempts = [];
  const change = (call, answer) => {
    if (verbOf(call) !== "events") return answer;
    attempts.push(call.headers["last-event-id"]);
    const created = answer.body.replaceAll("pause.approved", "pause.created").replace("id: 2", "id: 1");
    const pending = created.replace('"status":"approved"', '"status":"pending"');
    const headers = { "Content-Type": "text/event-stream" };
    const cut = { body: pending + answer.body.slice(0, 50), headers };
    const answers = [null, { status: 503, body: "" }, cut, { ...answer, headers }];
    const chosen = answers[attempts.length - 1];
    return chosen && { status: 200, ...chosen };
  };
  await withServer(change, async (url) => {
    const { client } = agent(url);
    const types = [];
    for await (const event of client.events(await client.request("x"))) types.push(event.type);
    assert.deepEqual(types, ["pause.created", "pause.approved"]);
  });
  assert.deepEqual(attempts, [undefined, undefined, undefined, "1"]);
});

for (const [name, broken, kind] of [
  ["another type", (answer) => answer, sagahold.UnexpectedResponse],
  ["an error", fixed(404, '{"code": "NOT_FOUND", "detail": "no"}'), sagahold.RequestError],
  ["no JSON", fixed(200, "data: {\n\n", { "Content-Type": "text/event-stream" }), sagahold.UnexpectedResponse],
]) {
  test(`events of ${name} end with an error`, async () => {
    await withServer((call, answer) => (verbOf(call) === "events" ? broken(answer) : answer), async (url) => {
      const { client } = agent(url);
      await assert.rejects(client.events(await client.request("x")).next(), kind);
    });
  });
}

test("a browser hides a redirect", async () => {
  const hidden = Response.error();
  Object.defineProperty(hidden, "type", { value: "opaqueredirect" });
  const { client } = agent("http://127.0.0.1:1", { fetch: async () => hidden });
  await assert.rejects(client.request("x"), { name: "UnexpectedResponse", message: /redirects to elsewhere/ });
});
