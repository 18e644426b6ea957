// What both packages make of a server that answers one request at a time, and does so.

import Anthropic from "@anthropic-ai/sdk";
import OpenAI from "openai";
import { refusal, report, server } from "./report.mjs";

const openAI = new OpenAI({ baseURL: `${server}/v1`, apiKey: "none", maxRetries: 0 });
const anthropic = new Anthropic({ baseURL: server, apiKey: "none", maxRetries: 0 });
const ask = (more) => ({ model: "kimi-nano", messages: [{ role: "user", content: "Hi" }], max_tokens: 2, ...more });

async function see(request, { RateLimitError }) {
  const error = await refusal(request);
  return { isRateLimit: error instanceof RateLimitError, status: error.status, retryAfter: error.headers.get("retry-after") };
}

await report({
  openAI: () => see(() => openAI.chat.completions.create(ask()), OpenAI),
  openAIStreamed: () => see(() => openAI.responses.create({ model: "kimi-nano", input: "Hi", stream: true }), OpenAI),
  anthropic: () => see(() => anthropic.messages.create(ask()), Anthropic),
  anthropicStreamed: () => see(() => anthropic.messages.create(ask({ stream: true })), Anthropic),
});
