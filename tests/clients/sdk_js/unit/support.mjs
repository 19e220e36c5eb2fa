// A `FakeApprover` behind real HTTP, whose answers a test may replace: what a broken server or proxy sends.
import { createServer } from "node:http";
import { FakeApprover } from "@sagahold/client/testing";

// Run `test` with the address of a server that sends what `change` makes of each answer; null closes the connection.
export async function withServer(change, test, approver = new FakeApprover()) {
  const server = createServer(async (request, response) => {
    const chunks = [];
    for await (const chunk of request) chunks.push(chunk);
    const url = new URL(request.url, "http://fake");
    const headers = { ...request.headers, "Idempotency-Key": request.headers["idempotency-key"] };
    const body = Buffer.concat(chunks).toString() || undefined;
    const params = Object.fromEntries(url.searchParams);
    const call = { method: request.method, path: url.pathname, params, body, headers };
    const sent = await approver.answer(call);
    const answer = change(call, { status: sent.status, body: text(sent), headers: {} });
    if (answer === null) return request.socket.destroy();
    response.writeHead(answer.status, answer.headers).end(answer.body);
  });
  await new Promise((listening) => server.listen(0, "127.0.0.1", listening));
  try {
    await test(`http://127.0.0.1:${server.address().port}`, approver);
  } finally {
    server.closeAllConnections();
    await new Promise((closed) => server.close(closed));
  }
}

export function text(answer) {
  return new TextDecoder().decode(answer.body);
}

// The verb of a call: `request`, `wait`, `consume`, …
export function verbOf(call) {
  if (call.params?.wait !== undefined) return "wait";
  return call.path.split("/")[4] ?? (call.method === "POST" ? "request" : "get");
}

// Replace parts of the pause, by their paths: `{ "decision.outcome": "approved" }`.
export function altered(changes) {
  return (answer) => {
    const document = JSON.parse(answer.body);
    for (const [path, value] of Object.entries(changes)) {
      const names = path.split(".");
      const last = names.pop();
      names.reduce((place, name) => place[name], document)[last] = value;
    }
    return { ...answer, body: JSON.stringify(document) };
  };
}

export function lines() {
  const written = [];
  const write = (message) => written.push(message);
  return { info: write, warn: write, error: write, written };
}
