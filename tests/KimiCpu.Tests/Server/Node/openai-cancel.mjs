// Requests that the package openai gives up end in the model, streamed or not, while the client lives on.

import OpenAI from "openai";
import { capital, refusal, report, running, server } from "./report.mjs";

const { chat, responses } = new OpenAI({ baseURL: `${server}/v1`, apiKey: "none", maxRetries: 0 });
const endless = { model: "kimi-nano", ignore_eos: true };
const ask = (more) => ({ ...endless, messages: [{ role: "user", content: "Tell me a story." }], max_tokens: 1900, ...more });

/** Gives up at the first piece of a stream, which then ends without the answer's end. */
async function giveUp(open, isPiece, isEnd) {
  const stop = new AbortController();
  let [during, finished] = [null, false];
  for await (const piece of await open({ signal: stop.signal })) {
    finished ||= Boolean(isEnd(piece));
    if (during === null && isPiece(piece)) {
      during = await running(1);
      stop.abort();
    }
  }

  return { finished, during, after: await running(0) };
}

await report({
  chat: () =>
    giveUp(
      (options) => chat.completions.create(ask({ stream: true }), options),
      (chunk) => chunk.choices[0]?.delta.reasoning_content,
      (chunk) => chunk.choices[0]?.finish_reason,
    ),

  responses: () =>
    giveUp(
      (options) => responses.create({ ...endless, input: "Tell me a story.", max_output_tokens: 1900, stream: true }, options),
      (event) => event.type.endsWith("delta"),
      (event) => ["response.completed", "response.incomplete"].includes(event.type),
    ),

  async whole() {
    const stop = new AbortController();
    const asked = refusal(() => chat.completions.create(ask(), { signal: stop.signal }));
    const during = await running(1);
    stop.abort();
    return { aborted: (await asked) instanceof OpenAI.APIUserAbortError, during, after: await running(0) };
  },

  async next() {
    const completion = await chat.completions.create({ model: "kimi-nano", temperature: 0, messages: [{ role: "user", content: capital }] });
    return { text: completion.choices[0].message.content };
  },
});
