// Responses by the package openai: whole, streamed, with its helpers.

import OpenAI from "openai";
import { ResponsesToolRunner, runnerFunction } from "openai/helpers/responses-tool-runner";
import { zodResponsesFunction, zodTextFormat } from "openai/helpers/zod";
import { z } from "zod";
import { capital, report, server, weather } from "./report.mjs";

const client = new OpenAI({ baseURL: `${server}/v1`, apiKey: "none", maxRetries: 0 });
const { responses } = client;
const ask = (input, more) => ({ model: "kimi-nano", temperature: 0, input, ...more });
const textOf = (item) => item.content.map((part) => part.text).join("");

async function runTools(options) {
  const asked = [];
  const tool = zodResponsesFunction({
    name: "get_weather",
    description: "Get the current weather for a city.",
    parameters: z.object({ city: z.string() }),
    function: ({ city }) => {
      asked.push(city);
      return `12 degrees and sunny in ${city}`;
    },
  });
  const types = [];
  const runner = new ResponsesToolRunner({ functions: [runnerFunction(tool)] });
  const answer = await runner.run(client, ask(weather), { onEvent: (event) => void types.push(event.type), ...options });
  return { asked, answer: answer.output_text, status: answer.status, events: types.length };
}

await report({
  async whole() {
    const response = await responses.create(ask(capital, { metadata: { run: "7" } }));
    const reasoning = response.output.filter((item) => item.type === "reasoning").map(textOf).join("");
    return { text: response.output_text, reasoning, types: response.output.map((i) => i.type), status: response.status, usage: response.usage, metadata: response.metadata, request: response._request_id };
  },

  async streamed() {
    let [text, reasoning, last] = ["", "", null];
    const numbers = [];
    for await (const event of await responses.create(ask(capital, { stream: true }))) {
      numbers.push(event.sequence_number);
      text += event.type === "response.output_text.delta" ? event.delta : "";
      reasoning += event.type === "response.reasoning_text.delta" ? event.delta : "";
      last = event;
    }

    return { text, reasoning, numbers, last: last.type, output: textOf(last.response.output.at(-1)) };
  },

  async helper() {
    const stream = responses.stream(ask(capital, { reasoning: { summary: "auto" } }));
    let [text, summary] = ["", ""];
    stream.on("response.output_text.delta", (event) => (text += event.delta));
    stream.on("response.reasoning_summary_text.delta", (event) => (summary += event.delta));
    const final = await stream.finalResponse();
    const item = final.output.find((i) => i.type === "reasoning");
    return { text, summary, final: final.output_text, finalSummary: item.summary.map((part) => part.text).join("") };
  },

  async conversation() {
    const input = [{ role: "user", content: "My name is Ada." }];
    const first = await responses.create(ask(input));
    input.push(...first.output, { role: "user", content: "What is my name?" });
    return { text: (await responses.create(ask(input))).output_text };
  },

  async silent() {
    const response = await responses.create(ask(capital, { reasoning: { effort: "none" } }));
    return { text: response.output_text, types: response.output.map((i) => i.type), tokens: response.usage.output_tokens_details.reasoning_tokens };
  },

  async schema() {
    const format = zodTextFormat(z.object({ colour: z.enum(["red", "green"]), sure: z.boolean() }), "answer");
    return (await responses.parse(ask("Which colour is grass?", { text: { format }, max_output_tokens: 600 }))).output_parsed;
  },

  async cut() {
    const stream = responses.stream(ask(capital, { max_output_tokens: 3 }));
    const final = await stream.finalResponse();
    return { status: final.status, reason: final.incomplete_details?.reason, tokens: final.usage.output_tokens };
  },

  tools: () => runTools(),
  toolsStreamed: () => runTools({ stream: true }),
});
