// Hold an AI agent's risky action until a person has approved it, then run exactly what was approved, once.

export { requireApproval, type ApprovalOptions } from "./approval.js";
export type { Json, JsonObject } from "./canonical-json.js";
export { Client, type ClientOptions, type ListFilters } from "./client.js";
export {
  AlreadyUsed,
  ApprovalExpired,
  Cancelled,
  Expired,
  InvalidWebhook,
  NotApproved,
  NotReachable,
  Rejected,
  RequestError,
  SagaholdError,
  StillPending,
  UnexpectedResponse,
} from "./errors.js";
export type { PauseEvent } from "./events.js";
export type { Decision, ExecutionStatus, Outcome, Pause, Status } from "./pauses.js";
export type { Logger, RequestOptions } from "./protocol.js";
export { verifyWebhook, type WebhookEvent, type WebhookOptions } from "./webhooks.js";
