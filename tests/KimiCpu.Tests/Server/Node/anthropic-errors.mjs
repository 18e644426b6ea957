// What the package @anthropic-ai/sdk makes of refusals, by a server with a key.

import Anthropic from "@anthropic-ai/sdk";
import { refusal, report, server } from "./report.mjs";

const client = (apiKey) => new Anthropic({ baseURL: server, apiKey, maxRetries: 0 });
const known = client("first");
const ask = (more) => ({ model: "kimi-nano", max_tokens: 2, messages: [{ role: "user", content: "Hi" }], ...more });

async function see(request) {
  const error = await refusal(request);
  const kind = ["AuthenticationError", "BadRequestError", "NotFoundError"].find((name) => error instanceof Anthropic[name]);
  return { kind: kind ?? error.constructor.name, status: error.status, message: error.message, type: error.type, request: error.requestID };
}

await report({
  key: () => see(() => client("second").messages.create(ask())),
  async token() {
    // As ANTHROPIC_AUTH_TOKEN has it.
    const message = await new Anthropic({ baseURL: server, apiKey: null, authToken: "first", maxRetries: 0 }).messages.create(ask());
    return { stop: message.stop_reason };
  },

  model: () => see(() => known.messages.create(ask({ model: "claude-9" }))),
  retrieved: () => see(() => known.models.retrieve("claude-9")),
  // More than that the client itself does not ask for at once.
  length: () => see(() => known.messages.create(ask({ max_tokens: 20_000 }))),
  lengthStreamed: () => see(() => known.messages.create(ask({ max_tokens: 100_000, stream: true }))),
  field: () => see(() => known.messages.create(ask({ tools: [{ type: "web_search_20250305", name: "web_search" }] }))),
  endpoint: () => see(() => known.messages.batches.list()),
});
