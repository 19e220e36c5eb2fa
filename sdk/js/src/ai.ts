// Approval of tool calls for `ai`, the AI SDK of Vercel. The framework stops at a call that needs approval, and goes on
// when the messages have the response. A tool uses its approval itself, directly before it runs.

import { digest, dumps, equal, isObject, snapshotObject, type JsonObject } from "./canonical-json.js";
import { Client } from "./client.js";
import { SagaholdError, UnexpectedResponse, notUsable } from "./errors.js";
import { checkNoGenerator, runApproved } from "./execution.js";
import * as protocol from "./protocol.js";
import { Budget } from "./protocol.js";
import type { Pause } from "./pauses.js";

const DOOR = "vercel-ai";
const VALID_FOR = 900;
/** The longest action, and the longest fact about the client, in characters. */
const MAX_TEXT = 500;

// The parts of the framework's types that matter here, so that this package does not need the framework.
type AnyTool = { execute?: ((input: any, options: any) => any) | undefined };
type AnyMessage = { role: string; content: unknown };
type Status = "user-approval" | "not-applicable";

export interface ToolApprovalResponse {
  type: "tool-approval-response";
  approvalId: string;
  approved: boolean;
  reason?: string;
}

/** The message that answers the approval requests. It is a `ToolModelMessage` of the framework. */
export interface ToolApprovalMessage {
  role: "tool";
  content: ToolApprovalResponse[];
}

export interface HoldOptions {
  /** The name of the conversation: the same in each process that loads its messages, and no other's. */
  thread: string;
  /** The words that the reviewer reads. The default is `Run the tool NAME`. */
  action?: ((tool: string, input: JsonObject) => string) | undefined;
  /** The approval policy. The default is the namespace's. */
  review?: object | undefined;
  /** The seconds after an approval in which the tool must start; null is without limit. The default is 900. */
  validFor?: number | null | undefined;
  /** The seconds that a decision may take; null is without limit. The default is the server's. */
  expiresIn?: number | null | undefined;
  /** If it returns false, the tool runs without approval. It must decide by the tool and the input alone. */
  when?: ((tool: string, input: JsonObject) => boolean) | undefined;
  /** Tells whether the action may have happened despite the error; the outcome is then `unknown`, not `failed`. */
  unknownOn?: ((error: unknown) => boolean) | undefined;
  /** The default is a client for SAGAHOLD_URL and SAGAHOLD_API_KEY. */
  client?: Client | undefined;
}

interface ToolCall {
  readonly approvalId: string;
  readonly callId: string;
  readonly tool: string;
  readonly input: JsonObject;
}

export interface HeldTools<TOOLS extends Record<string, AnyTool>> {
  /** The tools, each of which runs only with an approval that it uses up. */
  readonly tools: TOOLS;
  /** The option `toolApproval` of `generateText`, `streamText` and `ToolLoopAgent`. */
  readonly toolApproval: { [NAME in keyof TOOLS]: (input: any) => Status };
  /** Ask for each approval that the last messages request, and return the pauses. Save the messages before. */
  request(messages: readonly AnyMessage[]): Promise<Pause[]>;
  /** Ask, wait for the decisions, and return the messages with their responses. The timeout is in seconds. */
  answer<MESSAGE extends AnyMessage>(
    messages: readonly MESSAGE[],
    options?: { timeout?: number | undefined; signal?: AbortSignal | undefined },
  ): Promise<(MESSAGE | ToolApprovalMessage)[]>;
}

/** Hold the calls of these tools until a person has approved them. */
export function holdTools<TOOLS extends Record<string, AnyTool>>(tools: TOOLS, options: HoldOptions): HeldTools<TOOLS> {
  const conversation = new Conversation(tools, options);
  return {
    tools: conversation.tools,
    toolApproval: conversation.toolApproval,
    request: (messages) => conversation.request(messages),
    answer: (messages, how) => conversation.answer(messages, how),
  };
}

class Conversation<TOOLS extends Record<string, AnyTool>> implements HeldTools<TOOLS> {
  readonly tools: TOOLS;
  readonly toolApproval: HeldTools<TOOLS>["toolApproval"];
  readonly #client: Client;

  constructor(
    tools: TOOLS,
    private readonly options: HoldOptions,
  ) {
    if (typeof options.thread !== "string" || options.thread === "") throw new TypeError("name the thread");
    this.#client = options.client ?? new Client();
    const held = Object.entries(tools).map(([name, tool]) => [name, this.#held(name, tool)]);
    this.tools = Object.fromEntries(held) as TOOLS;
    const statuses = Object.keys(tools).map((name) => [name, (input: object) => this.#status(name, input)]);
    this.toolApproval = Object.fromEntries(statuses) as HeldTools<TOOLS>["toolApproval"];
  }

  async request(messages: readonly AnyMessage[]): Promise<Pause[]> {
    return Promise.all(openCalls(messages).map((call) => this.#asked(call)));
  }

  async answer<MESSAGE extends AnyMessage>(
    messages: readonly MESSAGE[],
    options: { timeout?: number | undefined; signal?: AbortSignal | undefined } = {},
  ): Promise<(MESSAGE | ToolApprovalMessage)[]> {
    const calls = openCalls(messages);
    const asked = await this.request(messages);
    const pauses = await Promise.all(asked.map((pause) => this.#client.wait(pause, options)));
    const content = pauses.map((pause, index) => response((calls[index] as ToolCall).approvalId, pause));
    return content.length === 0 ? [...messages] : [...messages, { role: "tool", content }];
  }

  #held(name: string, tool: AnyTool): AnyTool {
    const { execute } = tool;
    if (execute === undefined) throw new TypeError(`the tool ${name} has no execute, so it does not run here`);
    checkNoGenerator(execute, `the tool ${name}`);
    const run = async (input: unknown, options: { toolCallId: string; messages: readonly AnyMessage[] }) => {
      const given = inputOf(name, input);
      if (this.#status(name, given) === "not-applicable") return execute.call(tool, given, options);
      const pause = await this.#used(name, given, options);
      const approved = snapshotObject(pause.decision?.arguments ?? {}, "argument");
      const { unknownOn } = this.options;
      return runApproved(this.#client, pause, name, () => execute.call(tool, approved, options), unknownOn);
    };
    return { ...tool, execute: run };
  }

  #status(name: string, input: unknown): Status {
    return this.options.when?.(name, inputOf(name, input)) === false ? "not-applicable" : "user-approval";
  }

  async #used(
    name: string,
    input: JsonObject,
    options: { toolCallId: string; messages: readonly AnyMessage[] },
  ): Promise<Pause> {
    const request = parts(options.messages, "assistant").findLast(
      (part) => part["type"] === "tool-approval-request" && part["toolCallId"] === options.toolCallId,
    );
    const call = { approvalId: String(request?.["approvalId"]), callId: options.toolCallId, tool: name, input };
    const pause = request && (await this.#found(call));
    if (pause === undefined) throw new SagaholdError(`no approval was requested for the tool ${name}: nothing runs`);
    // The messages may have changed since the answer.
    if (pause.status === "approved" && pause.consumedAt === null && !equal(pause.decision.arguments, input)) {
      throw new SagaholdError(edited(pause), pause);
    }
    // An answer that is lost would leave an approval that is used up, although nothing has run.
    return protocol.consume(this.#client, pause, new Budget(null));
  }

  async #asked(call: ToolCall): Promise<Pause> {
    if (!Object.hasOwn(this.tools, call.tool)) {
      throw new TypeError(`the tool ${call.tool} requests approval, but it is not held: pass it to holdTools`);
    }
    const found = await this.#found(call);
    if (found !== undefined) return found;
    const { action, review, expiresIn, validFor = VALID_FOR } = this.options;
    const key = await this.#key(call);
    const text = action?.(call.tool, snapshotObject(call.input, "input")) ?? `Run the tool ${call.tool}`;
    const facts = { framework: "ai", tool: call.tool, thread: this.options.thread, call: call.callId };
    const short = Object.entries(facts).map(([name, fact]) => [name, protocol.cut(fact, MAX_TEXT)]);
    const metadata = { door: DOOR, client: Object.fromEntries(short) };
    const fields = { arguments: call.input, externalId: key, metadata, review, expiresIn, validFor };
    const body = protocol.draft(protocol.cut(text, MAX_TEXT), fields);
    return this.#checked(call, await protocol.request(this.#client, body, key, new Budget(this.#client.retryFor)));
  }

  async #found(call: ToolCall): Promise<Pause | undefined> {
    const filters = { externalId: await this.#key(call), limit: 1 };
    const [[pause]] = await protocol.page(this.#client, filters, new Budget(this.#client.retryFor));
    return pause && this.#checked(call, pause);
  }

  async #key(call: ToolCall): Promise<string> {
    return `${DOOR}-${await digest([this.options.thread, call.approvalId])}`;
  }

  #checked(call: ToolCall, pause: Pause): Pause {
    const metadata = pause.document["metadata"];
    const facts = isObject(metadata) && isObject(metadata["client"]) ? metadata["client"] : {};
    if (facts["tool"] === protocol.cut(call.tool, MAX_TEXT) && equal(pause.postedArguments, call.input)) return pause;
    throw new UnexpectedResponse(
      `the messages of thread ${this.options.thread} have another call than the one that was requested: they were ` +
        `changed. Nothing runs. Start a new thread. See ${pause.reviewUrl}`,
      pause,
    );
  }
}

/** Return the calls whose approval is requested and has no response yet. */
function openCalls(messages: readonly AnyMessage[]): ToolCall[] {
  const assistant = parts(messages, "assistant");
  const answered = new Set(parts(messages, "tool").map((part) => part["approvalId"]));
  const requests = assistant.filter((part) => part["type"] === "tool-approval-request");
  const open = requests.filter((part) => !answered.has(part["approvalId"]) && part["isAutomatic"] !== true);
  return open.map(({ approvalId, toolCallId }) => {
    const call = assistant.findLast((part) => part["type"] === "tool-call" && part["toolCallId"] === toolCallId);
    if (call === undefined || call["providerExecuted"] === true) {
      throw new TypeError(`the approval request ${approvalId} is for no call of a tool that runs here`);
    }
    const tool = String(call["toolName"]);
    return { approvalId: String(approvalId), callId: String(toolCallId), tool, input: inputOf(tool, call["input"]) };
  });
}

function parts(messages: readonly AnyMessage[], role: string): Record<string, unknown>[] {
  const contents = messages.filter((message) => message.role === role).map((message) => message.content);
  return contents.filter((content) => Array.isArray(content)).flat() as Record<string, unknown>[];
}

function inputOf(tool: string, input: unknown): JsonObject {
  if (typeof input !== "object" || input === null) throw new TypeError(`the input of the tool ${tool} is no object`);
  return snapshotObject(input, `input of ${tool}`);
}

/** Return the response for the framework, which can run a call as it is, or not at all. */
function response(approvalId: string, pause: Pause): ToolApprovalResponse {
  const refused = { type: "tool-approval-response", approvalId, approved: false } as const;
  if (pause.status !== "approved" || pause.consumedAt !== null) return { ...refused, reason: notUsable(pause).message };
  if (!equal(pause.decision.arguments, pause.postedArguments)) return { ...refused, reason: edited(pause) };
  return { ...refused, approved: true };
}

function edited(pause: Pause): string {
  return (
    `“${pause.action}” did not run, because the reviewer has approved other arguments: ` +
    `${dumps(pause.decision?.arguments ?? null)}. To run them, call the tool again with exactly these. ` +
    `See ${pause.reviewUrl}`
  );
}
