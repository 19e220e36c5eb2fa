// `agent.mjs FILE NOTES STEP [OPTIONS]`: a conversation in FILE whose model calls `refund` once, noted in NOTES.
// Die by SIGKILL at STEP: `before-` or `after-` with `request`, `wait`, `consume` or `outcome`, `inside` the tool, or
// `before-save` of its result.
import { appendFileSync, existsSync, readFileSync, writeFileSync } from "node:fs";
import { generateText, jsonSchema, streamText, tool } from "ai";
import { MockLanguageModelV4, simulateReadableStream } from "ai/test";
import { Client } from "@sagahold/client";
import { holdTools } from "@sagahold/client/ai";

const [file, notes, step, options = "{}"] = process.argv.slice(2);
const { stream, ...held } = JSON.parse(options);
const INPUT = { order: "A-1", cents: 12_900 };

function dieAt(here) {
  if (here === step) process.kill(process.pid, "SIGKILL");
}

async function mortalFetch(address, init) {
  const url = new URL(address);
  const verb = url.searchParams.has("wait") ? "wait" : url.pathname.split("/")[4] ?? "request";
  const counts = init.method === "POST" || verb === "wait";
  if (counts) dieAt(`before-${verb}`);
  const response = await fetch(address, init);
  const body = await response.arrayBuffer();
  if (counts) dieAt(`after-${verb}`);
  return new Response(body, response);
}

const refund = tool({
  description: "Refund an order",
  inputSchema: jsonSchema({
    type: "object",
    properties: { order: { type: "string" }, cents: { type: "integer" } },
    required: ["order", "cents"],
  }),
  execute: async ({ order, cents }) => {
    appendFileSync(notes, `${order} ${cents}\n`);
    dieAt("inside");
    return `refunded ${cents}`;
  },
});

const usage = { inputTokens: { total: 1 }, outputTokens: { total: 1 } };
const finish = (reason) => ({ finishReason: { unified: reason, raw: undefined }, usage, warnings: [] });

// The model calls the tool, and later tells the tool's result.
function said(prompt) {
  const results = prompt.filter((message) => message.role === "tool").flatMap((message) => message.content);
  const last = results.findLast((part) => part.type === "tool-result");
  if (last !== undefined) return [{ type: "text", text: JSON.stringify(last.output) }, finish("stop")];
  const call = { type: "tool-call", toolCallId: "call-1", toolName: "refund", input: JSON.stringify(INPUT) };
  return [call, finish("tool-calls")];
}

const model = new MockLanguageModelV4({
  doGenerate: async ({ prompt }) => {
    const [part, rest] = said(prompt);
    return { content: [part], ...rest };
  },
  doStream: async ({ prompt }) => {
    const [part, rest] = said(prompt);
    const text = [{ type: "text-start" }, { type: "text-delta", delta: part.text }, { type: "text-end" }];
    const parts = part.type === "text" ? text.map((each) => ({ ...each, id: "1" })) : [part];
    const chunks = [...parts, { type: "finish", ...rest }];
    return { stream: simulateReadableStream({ chunks }) };
  },
});

const client = new Client({ fetch: mortalFetch });
const { tools, toolApproval, answer } = holdTools({ refund }, { thread: file, client, ...held });
let messages = existsSync(file) ? JSON.parse(readFileSync(file)) : [{ role: "user", content: "Refund order A-1" }];

async function turn() {
  const result = (stream ? streamText : generateText)({ model, tools, toolApproval, messages });
  const responses = await (stream ? result.responseMessages : result.then((found) => found.responseMessages));
  messages = [...messages, ...responses];
  dieAt("before-save");
  writeFileSync(file, JSON.stringify(messages));
  return (await result).text;
}

if (messages.at(-1).role === "user") await turn();
messages = await answer(messages);
writeFileSync(file, JSON.stringify(messages));
console.log(await turn());
