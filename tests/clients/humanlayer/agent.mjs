// The calls of agent.py, by the client for Node.
import { humanlayer } from "@humanlayer/sdk";

const ran = [];
const hl = humanlayer({ runId: "run-9" });
const named = (name) => ({ [name]: async (kwargs) => (ran.push({ name, ...kwargs }), `${name} done`) })[name];
const calls = process.argv[2].split(",").map(async (name) => {
  const tool = name.startsWith("ask") ? hl.humanAsTool() : hl.requireApproval()(named(name));
  return [name, await tool(name.startsWith("ask") ? { message: `${name}?` } : { to: "ACME", amount: 9000 })];
});
console.log(JSON.stringify({ results: Object.fromEntries(await Promise.all(calls)), ran }));
