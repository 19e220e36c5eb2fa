// `refund_agent.mjs FILE STEP`: refund once, noted in FILE; die by SIGKILL at STEP.
// A step is `before-` or `after-` with `request`, `wait`, `consume` or `outcome`, or `inside` the function.
import { appendFileSync } from "node:fs";
import { Client, SagaholdError, requireApproval } from "@sagahold/client";

const [file, step] = process.argv.slice(2);

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

async function refund({ order, cents }) {
  appendFileSync(file, `${order} ${cents}\n`);
  dieAt("inside");
}

const held = requireApproval(refund, {
  action: "Refund {cents} for {order}",
  key: ({ order }) => order,
  validFor: null,
  client: new Client({ fetch: mortalFetch }),
});

try {
  await held({ order: "A-1", cents: 12_900 });
  console.log("done");
} catch (error) {
  if (!(error instanceof SagaholdError)) throw error;
  console.log(error.name, error.message);
}
