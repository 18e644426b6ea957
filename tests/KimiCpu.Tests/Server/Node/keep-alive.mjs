// Streams that are silent for a while, by the packages openai and @anthropic-ai/sdk: what fills the pauses is no part of an answer.

import Anthropic from "@anthropic-ai/sdk";
import OpenAI from "openai";
import { report, server } from "./report.mjs";

const openAI = new OpenAI({ baseURL: `${server}/v1`, apiKey: "none", maxRetries: 0 });
const { messages } = new Anthropic({ baseURL: server, apiKey: "none", maxRetries: 0 });
const long = `${"Tell me a story. ".repeat(300)} What is the capital of France?`;
const silent = { model: "kimi-nano", temperature: 0 };

await report({
  async responses() {
    const ask = { ...silent, input: long, instructions: "Be brief.", reasoning: { effort: "none" }, max_output_tokens: 20 };
    const stream = openAI.responses.stream(ask);
    let text = "";
    const types = [];
    const numbers = [];
    stream.on("event", (event) => {
      types.push(event.type);
      numbers.push(event.sequence_number);
    });
    stream.on("response.output_text.delta", (event) => (text += event.delta));
    const final = await stream.finalResponse();
    return { text, final: final.output_text, instructions: final.instructions, running: types.filter((type) => type === "response.in_progress").length, numbers, whole: (await openAI.responses.create(ask)).output_text };
  },

  async messages() {
    const ask = { ...silent, max_tokens: 20, messages: [{ role: "user", content: long }] };
    const final = await messages.stream(ask).finalMessage();
    return { text: final.content.map((block) => block.text).join(""), whole: (await messages.create(ask)).content[0].text };
  },
});
