// `verifyWebhook`: only a recent body that a secret has signed passes.
import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { test } from "node:test";
import { InvalidWebhook, verifyWebhook } from "@sagahold/client";

const SECRET = `whsec_${Buffer.from("a secret of thirty-two bytes ....").toString("base64")}`;
const OTHER = `whsec_${Buffer.from("another secret").toString("base64")}`;
const EVENT = { type: "pause.approved", timestamp: "2026-12-02T10:00:00.000Z", data: { watchId: "wch_é" } };
const BODY = JSON.stringify(EVENT);
const now = () => Math.trunc(Date.now() / 1000);

function signature(secret, id, at, body) {
  const key = Buffer.from(secret.slice("whsec_".length), "base64");
  return `v1,${createHmac("sha256", key).update(`${id}.${at}.${body}`).digest("base64")}`;
}

function signed({ secret = SECRET, id = "msg_1", at = now(), body = BODY } = {}) {
  return { "webhook-id": id, "webhook-timestamp": String(at), "webhook-signature": signature(secret, id, at, body) };
}

for (const [name, body] of [
  ["text", BODY],
  ["a buffer", Buffer.from(BODY)],
  ["bytes", new TextEncoder().encode(BODY)],
  ["an ArrayBuffer", new TextEncoder().encode(BODY).buffer],
]) {
  test(`a signed body passes as ${name}`, async () => {
    const event = await verifyWebhook(body, signed(), SECRET);
    assert.deepEqual(event, { id: "msg_1", ...EVENT });
  });
}

test("headers may have any case, and be Headers", async () => {
  const headers = Object.fromEntries(Object.entries(signed()).map(([name, value]) => [name.toUpperCase(), value]));
  await verifyWebhook(BODY, headers, SECRET);
  await verifyWebhook(BODY, new Headers(headers), SECRET);
});

test("one right signature and one right secret are enough", async () => {
  const headers = signed();
  const other = signed({ secret: OTHER })["webhook-signature"];
  headers["webhook-signature"] = `v1a,x v1,!! ${other} ${headers["webhook-signature"]}`;
  await verifyWebhook(BODY, headers, [`whsec_${btoa("a third secret")}`, SECRET]);
});

const wrong = (changes) => ({ ...signed(), ...changes });
const RIGHT = signed()["webhook-signature"];
for (const [name, body, headers] of [
  ["another body", BODY.replace("approved", "rejected"), signed()],
  ["a body with a blank", `${BODY} `, signed()],
  ["another secret", BODY, signed({ secret: OTHER })],
  ["another id", BODY, wrong({ "webhook-id": "msg_2" })],
  ["another time", BODY, wrong({ "webhook-timestamp": String(now() + 1) })],
  ["an old message", BODY, signed({ at: now() - 301 })],
  ["a message of the future", BODY, signed({ at: now() + 310 })],
  ["a time that is no number", BODY, signed({ at: "soon" })],
  ["a time in another form", BODY, signed({ at: `${now()}.0` })],
  ["no id", BODY, wrong({ "webhook-id": undefined })],
  ["no signature", BODY, wrong({ "webhook-signature": "" })],
  ["two signatures headers", BODY, { ...signed(), "Webhook-Signature": "v1,x" }],
  ["a list of signatures", BODY, wrong({ "webhook-signature": ["v1,x"] })],
  ["a signature of another version", BODY, wrong({ "webhook-signature": RIGHT.replace("v1", "v2") })],
  ["half a signature", BODY, wrong({ "webhook-signature": RIGHT.slice(0, 20) })],
  ["no JSON", "approved", signed({ body: "approved" })],
  ["another document", '{"type": "x"}', signed({ body: '{"type": "x"}' })],
]) {
  test(`it refuses ${name}`, async () => {
    await assert.rejects(verifyWebhook(body, headers, SECRET), InvalidWebhook);
  });
}

for (const secret of ["", "whsec_", "whsec_!", SECRET.slice("whsec_".length), undefined]) {
  test(`a secret that is none: ${secret}`, async () => {
    await assert.rejects(verifyWebhook(BODY, signed(), secret), /whsec_ and base64/);
  });
}

test("no secret at all verifies nothing", async () => {
  await assert.rejects(verifyWebhook(BODY, signed(), []), InvalidWebhook);
});

test("a parsed body is refused", async () => {
  await assert.rejects(verifyWebhook(EVENT, signed(), SECRET), /not as parsed JSON/);
});
