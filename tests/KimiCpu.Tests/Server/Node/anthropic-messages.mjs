// Messages by the package @anthropic-ai/sdk: whole, streamed, with its helpers, counted, and the list of models.

import Anthropic from "@anthropic-ai/sdk";
import { betaZodTool } from "@anthropic-ai/sdk/helpers/beta/zod";
import { zodOutputFormat } from "@anthropic-ai/sdk/helpers/zod";
import { z } from "zod";
import { capital, report, server, weather } from "./report.mjs";

const { messages, beta, models } = new Anthropic({ baseURL: server, apiKey: "none", maxRetries: 0 });
const thinking = { type: "enabled", budget_tokens: 1024 };
const ask = (content, more) => ({ model: "kimi-nano", max_tokens: 1500, temperature: 0, messages: [{ role: "user", content }], ...more });
const partsOf = (content, type, name = type) => content.filter((b) => b.type === type).map((b) => b[name]).join("");

async function runTools(more) {
  const asked = [];
  const tool = betaZodTool({
    name: "get_weather",
    description: "Get the current weather for a city.",
    inputSchema: z.object({ city: z.string() }),
    run: ({ city }) => {
      asked.push(city);
      return `12 degrees and sunny in ${city}`;
    },
  });
  const runner = beta.messages.toolRunner(ask(weather, { tools: [tool], thinking, ...more }));
  const stops = [];
  let streamed = "";
  for await (const turn of runner) {
    if (more?.stream) {
      turn.on("text", (delta) => (streamed += delta));
      stops.push((await turn.finalMessage()).stop_reason);
    } else {
      stops.push(turn.stop_reason);
    }
  }

  const last = await runner.done();
  return { asked, stops, streamed, answer: partsOf(last.content, "text"), roles: runner.params.messages.map((m) => m.role) };
}

await report({
  async whole() {
    const message = await messages.create(ask(capital));
    return { text: partsOf(message.content, "text"), types: message.content.map((b) => b.type), stop: message.stop_reason, model: message.model, usage: message.usage, request: message._request_id };
  },

  async thinking() {
    const message = await messages.create(ask(capital, { thinking }));
    return { text: partsOf(message.content, "text"), thinking: partsOf(message.content, "thinking"), types: message.content.map((b) => b.type) };
  },

  async streamed() {
    let [text, thought] = ["", ""];
    const types = [];
    for await (const event of await messages.create(ask(capital, { thinking, stream: true }))) {
      types.push(event.type);
      text += event.delta?.text ?? "";
      thought += event.delta?.thinking ?? "";
    }

    return { text, thinking: thought, first: types[0], last: types.at(-1) };
  },

  async helper() {
    const stream = messages.stream(ask(capital, { thinking }));
    let [text, thought] = ["", ""];
    stream.on("text", (delta) => (text += delta)).on("thinking", (delta) => (thought += delta));
    const final = await stream.finalMessage();
    return { text, thinking: thought, final: partsOf(final.content, "text"), finalThinking: partsOf(final.content, "thinking"), stop: final.stop_reason, usage: final.usage, request: stream.request_id };
  },

  async conversation() {
    const said = [{ role: "user", content: "My name is Ada." }];
    const first = await messages.create(ask("", { messages: said, thinking }));
    said.push({ role: "assistant", content: first.content }, { role: "user", content: "What is my name?" });
    return { text: partsOf((await messages.create(ask("", { messages: said, thinking }))).content, "text") };
  },

  async schema() {
    const format = zodOutputFormat(z.object({ colour: z.enum(["red", "green"]), sure: z.boolean() }));
    return (await messages.parse(ask("Which colour is grass?", { output_config: { format } }))).parsed_output;
  },

  tools: () => runTools(),
  toolsStreamed: () => runTools({ stream: true }),

  async count() {
    const { max_tokens, temperature, ...counted } = ask(capital, { system: "Be brief." });
    const { usage } = await messages.create(ask(capital, { system: "Be brief." }));
    return { counted: (await messages.countTokens(counted)).input_tokens, used: usage.input_tokens + usage.cache_read_input_tokens };
  },

  async models() {
    const listed = [];
    for await (const { id, type, display_name, created_at } of models.list()) {
      listed.push({ id, type, display_name, created: new Date(created_at).getFullYear() });
    }

    const { id, type } = await models.retrieve("kimi-nano");
    return { listed, retrieved: { id, type } };
  },
});
