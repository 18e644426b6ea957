// Requests that the package @anthropic-ai/sdk gives up end in the model, streamed or not, while the client lives on.

import Anthropic from "@anthropic-ai/sdk";
import { capital, refusal, report, running, server } from "./report.mjs";

const { messages } = new Anthropic({ baseURL: server, apiKey: "none", maxRetries: 0 });

// The interface has no way to keep a model talking; a call that has to have a long text does.
const story = { name: "tell", input_schema: { type: "object", properties: { story: { type: "string", minLength: 4000 } }, required: ["story"] } };
const endless = { model: "kimi-nano", max_tokens: 1800, messages: [{ role: "user", content: "Tell me a story." }], tools: [story], tool_choice: { type: "any" } };

await report({
  async streamed() {
    const stop = new AbortController();
    let [during, finished] = [null, false];
    for await (const event of await messages.create({ ...endless, stream: true }, { signal: stop.signal })) {
      finished ||= event.type === "message_delta";
      if (during === null && event.type === "content_block_delta") {
        during = await running(1);
        stop.abort();
      }
    }

    return { finished, during, after: await running(0) };
  },

  async whole() {
    const stop = new AbortController();
    const asked = refusal(() => messages.create(endless, { signal: stop.signal }));
    const during = await running(1);
    stop.abort();
    return { aborted: (await asked) instanceof Anthropic.APIUserAbortError, during, after: await running(0) };
  },

  async next() {
    const message = await messages.create({ model: "kimi-nano", max_tokens: 300, temperature: 0, messages: [{ role: "user", content: capital }] });
    return { text: message.content.at(-1).text };
  },
});
