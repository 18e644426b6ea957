// What the package openai makes of refusals, by a server with a key.

import OpenAI from "openai";
import { refusal, report, server } from "./report.mjs";

const client = (apiKey) => new OpenAI({ baseURL: `${server}/v1`, apiKey, maxRetries: 0 });
const known = client("first");
const ask = (more) => ({ model: "kimi-nano", messages: [{ role: "user", content: "Hi" }], max_tokens: 2, ...more });

async function see(request) {
  const error = await refusal(request);
  const kind = ["AuthenticationError", "BadRequestError", "NotFoundError"].find((name) => error instanceof OpenAI[name]);
  return { kind: kind ?? error.constructor.name, status: error.status, message: error.message, code: error.code, param: error.param, type: error.type, request: error.requestID };
}

await report({
  key: () => see(() => client("second").chat.completions.create(ask())),
  model: () => see(() => known.chat.completions.create(ask({ model: "gpt-9" }))),
  length: () => see(() => known.chat.completions.create(ask({ max_tokens: 100_000 }))),
  lengthStreamed: () => see(() => known.chat.completions.create(ask({ max_tokens: 100_000, stream: true }))),
  responseStreamed: () =>
    see(async () => {
      const stream = await known.responses.create({ model: "kimi-nano", input: "Hi", max_output_tokens: 100_000, stream: true });
      for await (const event of stream) {
        void event;
      }
    }),
  field: () => see(() => known.responses.create({ model: "kimi-nano", input: "Hi", previous_response_id: "resp_1" })),
  response: () => see(() => known.responses.retrieve("resp_1")),
  endpoint: () => see(() => known.embeddings.create({ model: "kimi-nano", input: "Hi" })),
});
