// Chat completions by the package openai: whole, streamed, with its helpers, and the list of models.

import OpenAI from "openai";
import { zodFunction, zodResponseFormat } from "openai/helpers/zod";
import { z } from "zod";
import { capital, report, server, weather } from "./report.mjs";

const { chat, models } = new OpenAI({ baseURL: `${server}/v1`, apiKey: "none", maxRetries: 0 });
const ask = (content, more) => ({ model: "kimi-nano", temperature: 0, messages: [{ role: "user", content }], ...more });

function weatherTool(asked) {
  return zodFunction({
    name: "get_weather",
    description: "Get the current weather for a city.",
    parameters: z.object({ city: z.string() }),
    function: ({ city }) => {
      asked.push(city);
      return `12 degrees and sunny in ${city}`;
    },
  });
}

async function runTools(more) {
  const asked = [];
  const runner = chat.completions.runTools(ask(weather, { tools: [weatherTool(asked)], ...more }));
  let streamed = "";
  runner.on("content", (delta) => (streamed += delta));
  const answer = await runner.finalContent();
  return { asked, answer, streamed, roles: runner.messages.map((m) => m.role), usage: await runner.totalUsage() };
}

await report({
  async whole() {
    const completion = await chat.completions.create(ask(capital));
    const [choice] = completion.choices;
    return { text: choice.message.content, reasoning: choice.message.reasoning_content, finish: choice.finish_reason, model: completion.model, usage: completion.usage, request: completion._request_id };
  },

  async streamed() {
    let [text, reasoning, finish, usage, role] = ["", "", [], null, []];
    const ids = new Set();
    for await (const chunk of await chat.completions.create(ask(capital, { stream: true, stream_options: { include_usage: true } }))) {
      ids.add(chunk.id);
      usage = chunk.usage ?? usage;
      for (const { delta, finish_reason } of chunk.choices) {
        text += delta.content ?? "";
        reasoning += delta.reasoning_content ?? "";
        role.push(...(delta.role ? [delta.role] : []));
        finish.push(...(finish_reason ? [finish_reason] : []));
      }
    }

    return { text, reasoning, finish, usage, role, ids: ids.size };
  },

  async helper() {
    const stream = chat.completions.stream(ask(capital));
    let text = "";
    stream.on("content", (delta) => (text += delta));
    const { choices } = await stream.finalChatCompletion();
    return { text, final: choices[0].message.content, finish: choices[0].finish_reason };
  },

  async silent() {
    const { choices, usage } = await chat.completions.create(ask(capital, { reasoning_effort: "none" }));
    return { text: choices[0].message.content, reasoning: choices[0].message.reasoning_content ?? null, tokens: usage.completion_tokens_details.reasoning_tokens };
  },

  async schema() {
    const format = zodResponseFormat(z.object({ colour: z.enum(["red", "green"]), sure: z.boolean() }), "answer");
    const { choices } = await chat.completions.parse(ask("Which colour is grass?", { response_format: format, max_completion_tokens: 600 }));
    return choices[0].message.parsed;
  },

  tools: () => runTools(),
  toolsStreamed: () => runTools({ stream: true }),

  async models() {
    const listed = [];
    for await (const model of models.list()) {
      listed.push(model.id);
    }

    return { listed, owner: (await models.retrieve("kimi-nano")).owned_by };
  },
});
